"""Stage 2, Direction 2: train flow matching in latent space, text and noise -> latents.

    python train_stage2_latent_flow.py --data_dir data/phoenix14t --output_dir runs/flow \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --batch_size 32 --num_epochs 100 --learning_rate 1e-4 \\
        --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --use_ssm_prior --use_sync_guidance --lambda_prior 0.1 \\
        --gamma_guidance 0.01 --num_inference_steps 50 --num_workers 4

Latents and text embeddings are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR.
"""

import argparse
from pathlib import Path

from torch.utils.data import DataLoader

from checkpoints import FLOW, load_weights
from dataset import Batch
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.sampling_settings import SamplingSettings, SettingRefused
from models.text_to_latent import TextToLatent
from models.whole_batch import Draws
from runtime import cpu, errors
from runtime.arguments import add_dataclass_arguments, build_dataclass, make_parser, refuse_without
from training import arguments, latent_stages
from training.engine import prepare_run, split_loader, train
from training.initial import open_initial, start_from
from training.joined_clips import join_clips
from training.latent_stages import LENGTH_WEIGHT
from training.latents import conditions, has_text, latent_dataset, set_latent_scale, set_sync_targets
from training.settings import TrainSettings
from training.state import Losses

PRIOR_FLAGS = (
    "--ssm_prior_type",
    "--lambda_prior",
    "--prior_hidden_dim",
    "--prior_layers",
    "--prior_checkpoint",
    "--guidance_from",
)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    latent_stages.add_latent_stage_arguments(parser, num_epochs=100, learning_rate=1e-4)
    arguments.add_text_encoder_arguments(parser)
    arguments.add_joined_clips_argument(parser)
    add_dataclass_arguments(parser, "flow", FlowConfig)
    parser.add_argument("--use_ssm_prior", action="store_true", help="add the unconditional state-space prior")
    arguments.add_prior_type_argument(parser)
    parser.add_argument(
        "--prior_checkpoint", type=Path, help="best_model.pt of train_stage2_prior.py: its prior is used as it is"
    )
    parser.add_argument(
        "--initial_checkpoint",
        type=Path,
        help="last.pt of a flow with the same sizes and signers: training starts from its weights, and a text encoder "
        "from scratch is its own",
    )
    parser.add_argument(
        "--labelled_only", action="store_true", help="leave out train clips without a text, as after training on all"
    )
    args = arguments.parse_with_text_encoder(parser)
    refuse_without("--use_ssm_prior", args.use_ssm_prior, PRIOR_FLAGS, parser, args)
    refuse_without("--start mean", args.start == "mean", ("--start_layers",), parser, args)
    if args.start == "mean" and args.prior_checkpoint:
        parser.error("--prior_checkpoint: a prior that is trained alone starts in noise; leave --start mean out")
    if args.initial_checkpoint and args.prior_checkpoint:
        parser.error(
            "--prior_checkpoint: the flow of --initial_checkpoint has a prior of its own; leave one of them out"
        )
    if args.initial_checkpoint and "vocab_size" in args.record["flags"]:
        parser.error("--vocab_size: the text encoder of --initial_checkpoint has its own subwords; leave the flag out")
    refuse_without("--use_sync_guidance", args.use_sync_guidance, ("--gamma_guidance",), parser, args)
    return args


def loss(model: TextToLatent, batch: Batch, draws: Draws) -> Losses:
    cond, cond_mask = conditions(model, batch)
    z_1, mask = model.normalize(batch["z"]), batch["z_mask"]
    labelled = has_text(batch, z_1.device)
    losses = model.net.loss(z_1, mask, cond, cond_mask, draws, labelled)
    if model.net.sync_head is not None:
        sync = model.net.sync_head.loss(z_1, mask, batch["energy"], batch["energy_mask"])
        losses |= {"loss": losses["loss"] + sync, "sync": sync}
    length = model.length.loss(cond, cond_mask, batch["frames"].flatten(), labelled)
    return {**losses, "loss": losses["loss"] + LENGTH_WEIGHT * length, "length": length}


def build_flow(config: FlowConfig) -> LatentFlowMatcher:
    """The untrained flow. Raises UserError if it could not sample with the defaults that the flags give it."""
    flow = LatentFlowMatcher(config)
    try:
        flow.resolve(SamplingSettings())
    except SettingRefused as error:
        untaught = error.setting == "guidance_from"
        advice = "add --guidance_scale 1, or drop some texts with --cfg_dropout" if untaught else "leave the flag out"
        raise errors.UserError(f"--{error}; {advice}") from None
    return flow


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    accelerator = prepare_run(settings, args.hidden_dim)

    source = latent_stages.open_source(args, accelerator.device).in_space(args.space)
    latent_stages.require_shape(args, source)
    latent_stages.read_all_splits(source, with_texts=("train",))
    prior, prior_settings, prior_content = latent_stages.open_prior(args, source)
    initial = open_initial(args, source)
    encoder = latent_stages.make_text_encoder(args, source, accelerator.device, initial)

    def loader(split: str) -> DataLoader:
        labelled = args.labelled_only and split == "train"
        clips = latent_dataset(source, split, encoder, accelerator.device, labelled=labelled)
        if split == "train" and args.joined_clips > 0:
            clips = join_clips(clips, args.joined_clips, source, encoder, settings.seed)
        return split_loader(clips, split, settings, accelerator)

    train_loader = loader("train")
    if args.labelled_only and len(train_loader.dataset) == len(source.clips("train")):
        print("note: every train clip has a text, so --labelled_only leaves none out")
    config = build_dataclass(
        FlowConfig,
        args,
        latent_dim=source.autoencoder.config.latent_dim,
        temporal_stride=source.autoencoder.config.temporal_stride,
        cond_dim=encoder.dim,
        max_frames=latent_stages.squeezed_to(source),
        has_null_text=args.cfg_dropout > 0 or train_loader.dataset.num_unlabelled > 0,
        **prior_settings,
    )
    model = TextToLatent(build_flow(config), encoder, source.signer_names())
    if prior is None:
        set_latent_scale(model, train_loader.dataset.latents)
    else:
        model.take_scale(prior)
        load_weights(model.net.prior, prior.prior.state_dict(), str(args.prior_checkpoint))
    if model.net.sync_head is not None:
        set_sync_targets(model.net.sync_head, train_loader.dataset.latents)
    if initial is not None:
        start_from(model, initial, args.initial_checkpoint)

    stage = latent_stages.latent_stage(
        FLOW,
        model,
        loss,
        source,
        args,
        criterion="flow",
        begins_with=(initial, prior_content),
        started_from="nothing" if initial is None else initial["fingerprint"],
    )
    train(accelerator, stage, train_loader, loader("dev"), lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
