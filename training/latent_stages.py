"""What stages 2 and 3 share: opening the autoencoder, choosing a text encoder, describing the stage."""

import argparse
import dataclasses
from collections.abc import Sequence

import torch

from checkpoints import load_autoencoder, load_prior, require_equal
from generation_arguments import add_autoencoder_argument
from models.autoencoder import AutoencoderConfig, PoseSpace
from models.mamba_prior import PriorAlone, PriorConfig
from models.text_encoder import SCRATCH, ScratchTextConfig, ScratchTextEncoder, TextEncoder, train_tokenizer
from models.text_to_latent import TextToLatent
from poses.files import SPLITS
from poses.pack import digest
from poses.splits import are_of_other_clips
from poses.texts import require_texts, says_something
from runtime.arguments import add_data_arguments, add_dataclass_arguments, add_repeated_arguments
from runtime.config import AUTO
from runtime.console import say
from runtime.errors import UserError
from text_encoders import describe_text_encoder, open_text_encoder
from training.arguments import add_sequence_arguments, choose_prior_type
from training.initial import own_text_encoder
from training.latents import LatentSource
from training.pictures import generations
from training.resuming import made_with
from training.run_folder import require_elsewhere
from training.settings import TrainSettings
from training.state import LossFunction, Stage

LENGTH_WEIGHT = 0.1  # of the length predictor's loss in the loss of either direction of stage 2
AUTOENCODERS_OWN = ("latent_dim", "temporal_stride")  # flags that must equal the autoencoder's configuration
CHECKPOINTS_READ = ("autoencoder_checkpoint", "teacher_checkpoint", "prior_checkpoint", "initial_checkpoint")


def add_latent_stage_arguments(parser: argparse.ArgumentParser, *, num_epochs: int, learning_rate: float) -> None:
    add_data_arguments(parser)
    add_autoencoder_argument(parser)
    add_sequence_arguments(parser, long_clips="resample")
    add_dataclass_arguments(parser, "training", TrainSettings, num_epochs=num_epochs, learning_rate=learning_rate)
    add_repeated_arguments(parser, "the autoencoder's checkpoint", AutoencoderConfig, AUTOENCODERS_OWN)


def open_source(args: argparse.Namespace, device: torch.device) -> LatentSource:
    """The autoencoder of --autoencoder_checkpoint; prints a note if it was trained on shorter clips.

    Raises UserError if the run would replace a checkpoint that it reads.
    """
    require_elsewhere(args.output_dir, (getattr(args, name, None) for name in CHECKPOINTS_READ))
    autoencoder, statistics, content = load_autoencoder(args.autoencoder_checkpoint, device)
    limit = autoencoder.config.max_frames
    if limit is not None and limit < args.max_seq_len:
        print(
            f"note: {args.autoencoder_checkpoint} was trained on at most {limit} frames of a clip at a time, less than "
            f"--max_seq_len {args.max_seq_len}: it may be worse at longer clips"
        )
    return LatentSource(
        autoencoder,
        statistics,
        content["fingerprint"],
        args.data_dir,
        args.cache_dir or args.data_dir / "cache",
        args.max_seq_len,
        args.long_clips,
        args.skip_bad,
    )


def read_all_splits(source: LatentSource, with_texts: Sequence[str]) -> None:
    """Read all splits, test included, so that errors in them are reported before training, not after it.

    Prints how many train clips are resampled, and whether the autoencoder learnt from others. with_texts: the splits
    that must have at least one text. Raises UserError for a split that has none, and for clips of another frame rate
    than the autoencoder's.
    """
    for split in SPLITS:
        clips = source.clips(split)
        source.statistics.require_rate(clips.info.get("fps"), source.data_dir)
        if split in with_texts:
            require_texts(source.data_dir, split, clips.texts, "stages 2 and 3 learn")
    if are_of_other_clips(source.statistics, source.data_dir, source.cache_dir, source.clips("train")):
        print(
            f"note: the autoencoder was trained on other clips than {source.data_dir}/train, or on these prepared "
            "otherwise: clips are normalised by its statistics; check the row 'reconstruction' of evaluate.py, or "
            "train it on this data set"
        )
    if squeezed_to(source) is not None:
        lengths = source.clips("train").lengths("pose")
        print(
            f"{(lengths > source.max_seq_len).sum()} of {len(lengths)} train clips are longer than --max_seq_len "
            f"{source.max_seq_len}: training resamples them to that length, and generation restores the original one"
        )


def require_shape(args: argparse.Namespace, source: LatentSource) -> None:
    """Raises UserError if a flag contradicts the latents' shape."""
    in_pose_space = isinstance(source.autoencoder, PoseSpace)
    where = "the pose space" if in_pose_space else args.autoencoder_checkpoint
    for name in AUTOENCODERS_OWN:
        require_equal(f"--{name}", getattr(args, name), getattr(source.autoencoder.config, name), where)


def open_prior(
    args: argparse.Namespace, source: LatentSource
) -> tuple[PriorAlone | None, dict[str, object], dict | None]:
    """The prior of --prior_checkpoint, if there is one, what a `FlowConfig` says of its prior, and the checkpoint.

    Raises UserError if a flag that was typed contradicts that checkpoint.
    """
    path = args.prior_checkpoint
    if not args.use_ssm_prior:
        return None, {"prior_type": "none"}, None
    if path is None:
        return None, {"prior_type": choose_prior_type(args.ssm_prior_type)}, None
    prior, content = load_prior(path, source.fingerprint)
    config, typed = prior.config, args.record["flags"]
    require_equal("--space", args.space, "latent", path)
    asked = {name: typed.get(name) for name in ("ssm_prior_type", "prior_hidden_dim", "prior_layers")}
    asked["ssm_prior_type"] = None if asked["ssm_prior_type"] == AUTO else asked["ssm_prior_type"]
    kept = {"prior_type": config.prior_type, "prior_hidden_dim": config.hidden_dim, "prior_layers": config.num_layers}
    for (name, value), own in zip(asked.items(), kept.values(), strict=True):
        require_equal(f"--{name}", value, own, path)
    latent_dim = source.autoencoder.config.latent_dim
    if config != PriorConfig(config.prior_type, latent_dim, config.hidden_dim, config.num_layers):
        raise UserError(f"{path}: a prior of another shape than stage 2 builds; train it again")
    return prior, {**kept, "prior_checkpoint": content["fingerprint"]}, content


def say_cut_texts(encoder: TextEncoder, texts: list[str]) -> None:
    """Print how many train texts are too long for the encoder."""
    longer = sum(count > encoder.max_tokens for count in encoder.count_tokens(texts))
    if longer:
        limit = encoder.max_tokens
        print(f"{longer} of {len(texts)} train texts have more than {limit} tokens: their ends are not read")


def make_text_encoder(
    args: argparse.Namespace, source: LatentSource, device: torch.device, initial: dict | None = None
) -> TextEncoder:
    """The text encoder of --text_encoder. An encoder from scratch comes from the initial checkpoint, or first learns
    its subwords from the train texts."""
    texts = [text for text in source.clips("train").texts if says_something(text)]
    if args.text_encoder != SCRATCH:
        encoder = open_text_encoder(args.text_encoder, device)
        say_cut_texts(encoder, texts)
        return encoder
    if initial is not None:
        encoder = own_text_encoder(args, initial)
        say_cut_texts(encoder, texts)
        return encoder
    tokenizer = train_tokenizer(texts, args.vocab_size)
    try:
        config = ScratchTextConfig(tokenizer, args.scratch_dim, args.scratch_layers, dropout=args.dropout)
    except ValueError as error:
        raise UserError(f"{error}; change the flag") from None
    encoder = ScratchTextEncoder(config)
    say_cut_texts(encoder, texts)
    say(f"text encoder: from scratch, {encoder.tokenizer.get_vocab_size()} subwords learnt on {len(texts)} train texts")
    return encoder


def squeezed_to(source: LatentSource) -> int | None:
    """The frames that longer train clips are resampled to, None if there are none."""
    longest = int(source.clips("train").lengths("pose").max())
    return source.max_seq_len if source.long_clips == "resample" and longest > source.max_seq_len else None


def signers_setting(source: LatentSource) -> dict[str, str]:
    """The data set's signers, as a setting of a run; empty if the data set names none."""
    named = {split: source.signers(split) for split in SPLITS}  # test's, too: errors are reported before training
    learnt = [sorted(named[split].items()) for split in ("train", "dev")]
    return {"signers": digest(learnt)} if named["train"] else {}


def latent_stage(
    kind: str,
    model: TextToLatent,
    loss: LossFunction,
    source: LatentSource,
    args: argparse.Namespace,
    *,
    criterion: str = "loss",
    learns_from: str = "clips",
    begins_with: Sequence[dict | None] = (),
    **more: str,
) -> Stage:
    """The `Stage` of a model on the source's latents; `more`: settings of the run besides the flags.

    begins_with: the contents of the checkpoints whose weights or samples it learns from, besides the autoencoder's.
    """
    joins = {"followed_by": "another"} if getattr(args, "joined_clips", 0) else {}
    return Stage(
        kind,
        model,
        dataclasses.asdict(model.net.config),
        loss,
        source.statistics,
        parent=source.fingerprint,
        text_encoder=describe_text_encoder(model.text_encoder),
        signers=model.signers,
        criterion=criterion,
        made_with=made_with(
            args, source.clips("train"), source.clips("dev"), **signers_setting(source), **joins, **more
        ),
        pictures=generations(source),
        record=args.record,
        learns_from=learns_from,
        train_clips=train_clips(source, begins_with),
    )


def train_clips(source: LatentSource, begins_with: Sequence[dict | None] = ()) -> tuple[str, ...]:
    """The digests that a checkpoint keeps of the train clips it has learnt from, directly or from other checkpoints."""
    earlier = (digest for content in begins_with if content for digest in content.get("train_clips", ()))
    return tuple(sorted({*filter(None, [source.clips("train").info.get("content")]), *earlier}))
