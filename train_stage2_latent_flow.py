"""Stage 2, Direction 2: train flow matching in latent space, text and noise -> latents.

    python train_stage2_latent_flow.py --data_dir data/phoenix14t --output_dir runs/flow \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --batch_size 32 --num_epochs 100 --learning_rate 1e-4 \\
        --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --use_ssm_prior --use_sync_guidance --lambda_prior 0.1 \\
        --gamma_guidance 0.01 --num_inference_steps 50 --num_workers 4

Latents and text embeddings are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR.
"""

import argparse
import dataclasses

import torch

from checkpoints import FLOW, describe_text_encoder
from dataset import Batch
from models.latent_flow_matcher import SPACES, FlowConfig, LatentFlowMatcher
from models.mamba_prior import resolve_prior_type
from models.text_to_latent import TextToLatent
from runtime import errors
from runtime.arguments import add_dataclass_arguments, build_dataclass, make_parser
from training import arguments, stage2
from training.engine import Losses, Stage, make_accelerator, train
from training.latents import conditions, set_latent_scale, set_sync_targets

FROM_ELSEWHERE = (
    "latent_dim", "cond_dim", "temporal_stride", "space", "prior_type", "use_sync_guidance",
)  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    stage2.add_stage2_arguments(parser, num_epochs=100, learning_rate=1e-4)
    arguments.add_text_encoder_arguments(parser)
    add_dataclass_arguments(parser, "flow", FlowConfig, skip=FROM_ELSEWHERE)
    parser.add_argument(
        "--space", choices=SPACES, default="latent",
        help="latent: of the autoencoder; pose: the normalised poses themselves, for comparison (default latent)",
    )  # fmt: skip
    parser.add_argument("--use_ssm_prior", action="store_true", help="add the unconditional state-space prior")
    parser.add_argument(
        "--ssm_prior_type", choices=("auto", "mamba", "simple"), default="auto",
        help="auto: Mamba where its CUDA kernels are installed, else the simple one",
    )  # fmt: skip
    parser.add_argument("--use_sync_guidance", action="store_true", help="train the sync head and guide samples by it")
    return parser.parse_args()


def loss(model: TextToLatent, batch: Batch, generator: torch.Generator) -> Losses:
    cond, cond_mask = conditions(model, batch)
    z_1, mask = model.normalize(batch["z"]), batch["z_mask"]
    losses = model.net.loss(z_1, mask, cond, cond_mask, generator)
    if model.net.sync_head is not None:
        sync = model.net.sync_head.loss(z_1, mask, batch["energy"], batch["energy_mask"])
        losses |= {"loss": losses["loss"] + sync, "sync": sync}
    return stage2.add_length_loss(losses, model, batch, cond, cond_mask)


def main() -> None:
    args = parse_arguments()
    settings = arguments.train_settings(args)
    accelerator = make_accelerator(settings.mixed_precision)
    torch.manual_seed(settings.seed)
    prior_type = resolve_prior_type(args.ssm_prior_type) if args.use_ssm_prior else "none"
    if args.use_ssm_prior and args.ssm_prior_type == "auto" and accelerator.is_main_process:
        print(f"prior: {prior_type} (--ssm_prior_type auto: mamba where mamba-ssm and a GPU are there, else simple)")

    source = stage2.open_source(args, accelerator.device).in_space(args.space)
    stage2.require_shape(args, source)
    encoder = stage2.make_text_encoder(args, source, accelerator.device)
    config = build_dataclass(
        FlowConfig, args, latent_dim=source.autoencoder.config.latent_dim, cond_dim=encoder.dim,
        temporal_stride=source.autoencoder.config.temporal_stride, space=args.space, prior_type=prior_type,
        use_sync_guidance=args.use_sync_guidance,
    )  # fmt: skip

    def loader(split: str) -> torch.utils.data.DataLoader:
        return stage2.stage2_loader(source, split, encoder, settings, accelerator)

    train_loader = loader("train")
    model = TextToLatent(LatentFlowMatcher(config), encoder)
    set_latent_scale(model, train_loader.dataset.latents)
    if model.net.sync_head is not None:
        set_sync_targets(model.net.sync_head, train_loader.dataset.latents)

    stage = Stage(
        FLOW, model, dataclasses.asdict(config), loss, source.statistics, source.fingerprint,
        describe_text_encoder(encoder),
    )  # fmt: skip
    train(accelerator, stage, train_loader, loader("dev"), lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
