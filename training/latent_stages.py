"""What both directions of stage 2 do alike: open the autoencoder, choose a text encoder, batch latents and texts."""

import argparse

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

from checkpoints import load_autoencoder, open_text_encoder, require_equal
from dataset import Batch, make_loader
from models.autoencoder import PoseSpace
from models.text_encoder import SCRATCH, ScratchTextConfig, ScratchTextEncoder, TextEncoder, train_tokenizer
from models.text_to_latent import TextToLatent
from poses.splits import load_split
from runtime.arguments import add_data_arguments, add_sequence_arguments, positive_int
from runtime.errors import UserError
from training import arguments
from training.engine import Losses, TrainSettings
from training.latents import LatentSource, latent_dataset

LENGTH_WEIGHT = 0.1  # of the length predictor's loss beside the stage's own


def add_stage2_arguments(parser: argparse.ArgumentParser, *, num_epochs: int, learning_rate: float) -> None:
    add_data_arguments(parser)
    arguments.add_autoencoder_argument(parser)
    add_sequence_arguments(parser, long_clips="resample")
    arguments.add_training_arguments(parser, num_epochs=num_epochs, learning_rate=learning_rate)
    parser.add_argument("--latent_dim", type=positive_int, help="must be the autoencoder's (default: is)")
    parser.add_argument(
        "--temporal_stride", type=positive_int, help="must be the autoencoder's (default: is)"
    )


def open_source(args: argparse.Namespace, device: torch.device) -> LatentSource:
    """The autoencoder of --autoencoder_checkpoint."""
    autoencoder, statistics, content = load_autoencoder(args.autoencoder_checkpoint, device)
    return LatentSource(
        autoencoder, statistics, content["fingerprint"], args.data_dir, args.cache_dir or args.data_dir / "cache",
        args.max_seq_len, args.long_clips, args.skip_bad,
    )  # fmt: skip


def require_shape(args: argparse.Namespace, source: LatentSource) -> None:
    """Flags that contradict the latents' shape are errors."""
    config, where = source.autoencoder.config, args.autoencoder_checkpoint
    if isinstance(source.autoencoder, PoseSpace):
        where = "the pose space"
    require_equal("--latent_dim", args.latent_dim, config.latent_dim, where)
    require_equal("--temporal_stride", args.temporal_stride, config.temporal_stride, where)


def make_text_encoder(args: argparse.Namespace, source: LatentSource, device: torch.device) -> TextEncoder:
    if args.text_encoder != SCRATCH:
        return open_text_encoder(args.text_encoder, device)
    texts = load_split(source.data_dir, "train", source.cache_dir, source.skip_bad).texts
    tokenizer = train_tokenizer(texts, args.vocab_size)
    try:
        config = ScratchTextConfig(tokenizer, args.scratch_dim, args.scratch_layers, dropout=args.dropout)
    except ValueError as error:
        raise UserError(f"{error}; change the flag") from None
    encoder = ScratchTextEncoder(config)
    print(
        f"text encoder: from scratch, {encoder.tokenizer.get_vocab_size()} subwords learnt on {len(texts)} train texts"
    )
    return encoder


def stage2_loader(
    source: LatentSource, split: str, encoder: TextEncoder, settings: TrainSettings, accelerator: Accelerator
) -> DataLoader:
    """Batches of latents z, their motion energy, and the text's frozen embedding `cond` or the text itself."""
    return make_loader(
        latent_dataset(source, split, encoder, accelerator.device), settings.batch_size, shuffle=split == "train",
        seed=settings.seed, num_workers=settings.num_workers, rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )  # fmt: skip


def add_length_loss(losses: Losses, model: TextToLatent, batch: Batch, cond: Tensor, cond_mask: Tensor) -> Losses:
    """The stage's losses with the length predictor's beside them, in frames of the clip."""
    length = model.length.loss(cond, cond_mask, batch["energy_mask"].sum(1))
    return {**losses, "loss": losses["loss"] + LENGTH_WEIGHT * length, "length": length}
