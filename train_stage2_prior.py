"""Stage 2, the prior of Direction 2 alone: noise -> latents, from clips with or without a text.

    python train_stage2_prior.py --data_dir data/unlabelled --output_dir runs/prior \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --batch_size 32 --num_epochs 100 --learning_rate 1e-4 \\
        --hidden_dim 256 --max_seq_len 120 --num_workers 4

The prior reads no texts. train_stage2_latent_flow.py --prior_checkpoint builds on the result. Latents are computed once
and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and TensorBoard events to OUTPUT_DIR.
"""

import argparse
import dataclasses

from torch.utils.data import DataLoader

from checkpoints import PRIOR
from dataset import Batch, LatentDataset
from models.mamba_prior import PriorAlone, PriorConfig
from models.whole_batch import Draws
from runtime import cpu, errors
from runtime.arguments import add_dataclass_arguments, build_dataclass, make_parser
from training import arguments, latent_stages
from training.engine import prepare_run, split_loader, train
from training.latents import latent_pack, set_latent_scale
from training.resuming import made_with
from training.settings import TrainSettings
from training.state import Losses, Stage


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    latent_stages.add_latent_stage_arguments(parser, num_epochs=100, learning_rate=1e-4)
    add_dataclass_arguments(parser, "prior", PriorConfig)
    arguments.add_prior_type_argument(parser)
    return parser.parse_args()


def loss(model: PriorAlone, batch: Batch, draws: Draws) -> Losses:
    return model.loss(model.normalize(batch["z"]), batch["z_mask"], draws)


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    accelerator = prepare_run(settings, args.hidden_dim)

    source = latent_stages.open_source(args, accelerator.device)
    latent_stages.require_shape(args, source)
    latent_stages.read_all_splits(source, with_texts=())
    config = build_dataclass(
        PriorConfig,
        args,
        prior_type=arguments.choose_prior_type(args.ssm_prior_type),
        latent_dim=source.autoencoder.config.latent_dim,
    )

    def loader(split: str) -> DataLoader:
        return split_loader(LatentDataset(latent_pack(source, split, accelerator.device)), split, settings, accelerator)

    train_loader = loader("train")
    model = PriorAlone(config)
    set_latent_scale(model, train_loader.dataset.latents)

    stage = Stage(
        PRIOR,
        model,
        dataclasses.asdict(config),
        loss,
        source.statistics,
        parent=source.fingerprint,
        made_with=made_with(args, source.clips("train"), source.clips("dev")),
        record=args.record,
        train_clips=latent_stages.train_clips(source),
    )
    train(accelerator, stage, train_loader, loader("dev"), lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
