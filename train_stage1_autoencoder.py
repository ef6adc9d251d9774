"""Stage 1: train the autoencoder, pose -> latents -> pose.

    python train_stage1_autoencoder.py --data_dir data/phoenix14t --output_dir runs/autoencoder --batch_size 32 \\
        --num_epochs 100 --learning_rate 1e-4 --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --num_workers 4

Writes best_model.pt (lowest dev loss), last.pt (for --resume_from), log.jsonl and TensorBoard events to OUTPUT_DIR.
"""

import argparse
import dataclasses
import functools

from torch.utils.data import DataLoader

from checkpoints import AUTOENCODER
from dataset import Batch, PoseDataset
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.autoencoder_loss import AutoencoderLoss
from models.whole_batch import Draws
from poses import layout
from poses.files import SPLITS
from poses.splits import load_split, load_statistics
from poses.statistics import statistics_path
from runtime import cpu, errors
from runtime.arguments import add_data_arguments, add_dataclass_arguments, build_dataclass, fraction, make_parser
from runtime.config import AUTO
from runtime.rank import is_first
from training.arguments import add_sequence_arguments
from training.engine import prepare_run, split_loader, train
from training.pictures import reconstructions
from training.resuming import made_with
from training.settings import TrainSettings
from training.state import BY_HEART, Losses, Progress, Stage, is_by_heart

SHARE_BY_HEART = 0.5  # of --mixed_faces auto


def share_or_auto(text: str) -> float | str:
    try:
        return text if text == AUTO else fraction(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, and not {AUTO}") from None


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    add_sequence_arguments(parser, long_clips="crop", augmentation=0.0)
    parser.add_argument(
        "--mixed_faces",
        type=share_or_auto,
        default=0.0,
        help="share of train clips that get the face of another one, so that the decoder learns to move the face apart "
        f"from the hands; auto: {SHARE_BY_HEART:g} as soon as the dev loss is {BY_HEART:g} times the train loss, since "
        "clips are then learnt by heart (default 0)",
    )
    add_dataclass_arguments(parser, "training", TrainSettings, num_epochs=100, learning_rate=1e-4)
    add_dataclass_arguments(parser, "autoencoder", AutoencoderConfig)
    add_dataclass_arguments(parser, "loss", AutoencoderLoss)
    parser.add_argument(
        "--text_encoder", help="has no effect, as the autoencoder reads no text; the stages that do take the same flag"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    config = build_dataclass(AutoencoderConfig, args)
    loss = build_dataclass(AutoencoderLoss, args)
    accelerator = prepare_run(settings, args.hidden_dim)
    if args.text_encoder is not None and accelerator.is_main_process:
        print(f"note: the autoencoder reads no text; --text_encoder {args.text_encoder} is for stage 2")

    packs = {split: load_split(args.data_dir, split, args.cache_dir, args.skip_bad) for split in SPLITS}
    statistics = load_statistics(args.data_dir, args.cache_dir, packs["train"])
    if config.body_frame and statistics.framed is None:
        raise errors.UserError(
            f"{statistics_path(args.data_dir, args.cache_dir)}: of an earlier version, which knew no body frame; run "
            f"data_preparation.py --data_dir {args.data_dir} again, or train with --no-body_frame"
        )
    if packs["train"].lengths("pose").max() > args.max_seq_len:
        config = dataclasses.replace(config, max_frames=args.max_seq_len)
    can_mix_faces = bool(statistics.moves[layout.NMM].any())
    mixes_by_heart = args.mixed_faces == AUTO and can_mix_faces

    def loader(split: str) -> DataLoader:
        share = 0.0 if args.mixed_faces == AUTO else args.mixed_faces
        dataset = PoseDataset(
            packs[split],
            statistics,
            args.max_seq_len,
            args.long_clips,
            settings.seed,
            augmentation=args.augmentation if split == "train" else 0.0,
            mixed_faces=share if split == "train" else 0.0,
        )
        return split_loader(dataset, split, settings, accelerator)

    def stage_loss(model: PoseAutoencoder, batch: Batch, draws: Draws) -> Losses:
        clips = (batch[name] for name in ("pose", "seen", "present", "pose_mask"))
        return loss(model, *clips, draws if model.training else None)

    train_loader, dev_loader = loader("train"), loader("dev")
    stage = Stage(
        AUTOENCODER,
        PoseAutoencoder(config, statistics),
        dataclasses.asdict(config),
        stage_loss,
        statistics,
        made_with=made_with(args, packs["train"], packs["dev"]),
        pictures=reconstructions(dev_loader.dataset),
        before_epoch=functools.partial(mix_by_heart, train_loader.dataset) if mixes_by_heart else None,
        record=args.record,
    )
    last = train(accelerator, stage, train_loader, dev_loader, lambda: loader("test"), settings)
    if last is not None and args.mixed_faces == 0 and can_mix_faces:
        say_learnt_by_heart(last["train"]["loss"], last["dev"]["loss"])


def mix_by_heart(clips: PoseDataset, progress: Progress) -> None:
    """Before an epoch: mix the faces of `clips` if an earlier epoch has shown that they are learnt by heart."""
    if not progress.by_heart_in:
        return
    clips.mixed_faces = SHARE_BY_HEART
    if progress.by_heart_in == progress.epoch - 1 and is_first():
        print(
            f"note: the dev loss of epoch {progress.by_heart_in} is more than {BY_HEART:g} times the train loss, so "
            f"stage 1 learns its clips by heart; from now on {SHARE_BY_HEART:.0%} of them get the face of another one"
        )


def say_learnt_by_heart(train_loss: float, dev_loss: float) -> None:
    """Advise to mix faces where the losses of the last epoch say that the train clips are learnt by heart."""
    if is_by_heart(train_loss, dev_loss):
        print(
            f"note: the dev loss of the last epoch is {dev_loss / train_loss:.1f} times the train loss, so stage 1 has "
            "learnt its clips by heart; try --mixed_faces auto (docs/training.md)"
        )


if __name__ == "__main__":
    errors.run(main)
