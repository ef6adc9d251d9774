"""Stage 2, Direction 1: train the baseline, text -> latents by regression.

    python train_stage2_predictor.py --data_dir data/phoenix14t --output_dir runs/predictor \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --batch_size 32 --num_epochs 80 --learning_rate 5e-4 \\
        --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --num_workers 4

Latents and text embeddings are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR.
"""

import argparse

from torch.utils.data import DataLoader

from checkpoints import PREDICTOR
from dataset import Batch
from models.latent_predictor import LatentPredictor, PredictorConfig, latent_regression_loss
from models.text_to_latent import TextToLatent
from models.whole_batch import Draws
from poses.files import SPLITS
from runtime import cpu, errors
from runtime.arguments import add_dataclass_arguments, build_dataclass, make_parser
from training import arguments, latent_stages
from training.engine import prepare_run, split_loader, train
from training.joined_clips import join_clips
from training.latent_stages import LENGTH_WEIGHT
from training.latents import conditions, latent_dataset, set_latent_scale
from training.settings import TrainSettings
from training.state import Losses


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    latent_stages.add_latent_stage_arguments(parser, num_epochs=80, learning_rate=5e-4)
    arguments.add_text_encoder_arguments(parser)
    arguments.add_joined_clips_argument(parser)
    add_dataclass_arguments(parser, "predictor", PredictorConfig)
    return arguments.parse_with_text_encoder(parser)


def loss(model: TextToLatent, batch: Batch, draws: Draws) -> Losses:
    cond, cond_mask = conditions(model, batch)
    prediction = model.net(cond, cond_mask, batch["z_mask"])
    regression = latent_regression_loss(prediction, model.normalize(batch["z"]), batch["z_mask"])
    length = model.length.loss(cond, cond_mask, batch["frames"].flatten())
    return {"loss": regression + LENGTH_WEIGHT * length, "latent": regression, "length": length}


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    accelerator = prepare_run(settings, args.hidden_dim)

    source = latent_stages.open_source(args, accelerator.device)
    latent_stages.require_shape(args, source)
    latent_stages.read_all_splits(source, with_texts=SPLITS)
    encoder = latent_stages.make_text_encoder(args, source, accelerator.device)
    config = build_dataclass(
        PredictorConfig,
        args,
        latent_dim=source.autoencoder.config.latent_dim,
        cond_dim=encoder.dim,
        max_frames=latent_stages.squeezed_to(source),
    )

    def loader(split: str) -> DataLoader:
        clips = latent_dataset(source, split, encoder, accelerator.device, labelled=True)
        if split == "train" and args.joined_clips > 0:
            clips = join_clips(clips, args.joined_clips, source, encoder, settings.seed)
        return split_loader(clips, split, settings, accelerator)

    train_loader = loader("train")
    model = TextToLatent(LatentPredictor(config), encoder, source.signer_names())
    set_latent_scale(model, train_loader.dataset.latents)

    stage = latent_stages.latent_stage(PREDICTOR, model, loss, source, args, criterion="latent")
    train(accelerator, stage, train_loader, loader("dev"), lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
