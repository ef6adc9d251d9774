"""Stage 2, Direction 1: train the baseline, text -> latents by regression.

    python train_stage2_predictor.py --data_dir data/phoenix14t --output_dir runs/predictor \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --batch_size 32 --num_epochs 80 --learning_rate 5e-4 \\
        --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --num_workers 4

Latents and text embeddings are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR.
"""

import argparse
import dataclasses

import torch

from checkpoints import PREDICTOR, describe_text_encoder
from dataset import Batch
from models.latent_predictor import LatentPredictor, PredictorConfig, latent_regression_loss
from models.text_to_latent import TextToLatent
from runtime import errors
from runtime.arguments import add_dataclass_arguments, build_dataclass, make_parser
from training import arguments, stage2
from training.engine import Losses, Stage, make_accelerator, train
from training.latents import conditions, set_latent_scale


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    stage2.add_stage2_arguments(parser, num_epochs=80, learning_rate=5e-4)
    arguments.add_text_encoder_arguments(parser)
    add_dataclass_arguments(parser, "predictor", PredictorConfig, skip=("latent_dim", "cond_dim"))
    return parser.parse_args()


def loss(model: TextToLatent, batch: Batch, generator: torch.Generator) -> Losses:
    cond, cond_mask = conditions(model, batch)
    prediction = model.net(cond, cond_mask, batch["z_mask"])
    regression = latent_regression_loss(prediction, model.normalize(batch["z"]), batch["z_mask"])
    return stage2.add_length_loss({"loss": regression, "latent": regression}, model, batch, cond, cond_mask)


def main() -> None:
    args = parse_arguments()
    settings = arguments.train_settings(args)
    accelerator = make_accelerator(settings.mixed_precision)
    torch.manual_seed(settings.seed)

    source = stage2.open_source(args, accelerator.device)
    stage2.require_shape(args, source)
    encoder = stage2.make_text_encoder(args, source, accelerator.device)
    config = build_dataclass(
        PredictorConfig, args, latent_dim=source.autoencoder.config.latent_dim, cond_dim=encoder.dim
    )

    def loader(split: str) -> torch.utils.data.DataLoader:
        return stage2.stage2_loader(source, split, encoder, settings, accelerator)

    train_loader = loader("train")
    model = TextToLatent(LatentPredictor(config), encoder)
    set_latent_scale(model, train_loader.dataset.latents)

    stage = Stage(
        PREDICTOR, model, dataclasses.asdict(config), loss, source.statistics, source.fingerprint,
        describe_text_encoder(encoder),
    )  # fmt: skip
    train(accelerator, stage, train_loader, loader("dev"), lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
