"""Stage 2 that starts from another run's flow: what the two must share, and what the run takes from it."""

import argparse
import dataclasses
from pathlib import Path

from checkpoint_checks import build_config
from checkpoints import FLOW, load_checkpoint, load_weights, require_parent
from models.latent_flow_matcher import FlowConfig
from models.text_encoder import SCRATCH, ScratchTextEncoder, TextEncoder
from models.text_to_latent import TextToLatent
from runtime.errors import UserError
from text_encoders import build_text_encoder, check_text_encoder, describe_text_encoder, same_text_encoder
from training.latents import LatentSource

# Settings that decide the shape or the meaning of a flow's weights. The autoencoder decides those of the latents.
_OF_NETWORK = ("hidden_dim", "num_layers", "num_heads", "space", "prior_type", "use_sync_guidance", "start")
_OF_PRIOR = ("prior_hidden_dim", "prior_layers")
_OF_MEAN = ("start_layers",)


def open_initial(args: argparse.Namespace, source: LatentSource) -> dict | None:
    """The content of --initial_checkpoint, a flow on the same autoencoder; None without that flag.

    Raises UserError for another checkpoint, and for one whose text encoder is of another kind than --text_encoder.
    """
    path = args.initial_checkpoint
    if path is None:
        return None
    content = load_checkpoint(path, FLOW)
    require_parent(content, source.fingerprint, path)
    description = content.get("text_encoder")
    check_text_encoder(description, path)
    kept = SCRATCH if SCRATCH in description else description["name"]
    if (kept == SCRATCH) != (args.text_encoder == SCRATCH):
        raise UserError(f"{path}: its text encoder is '{kept}', but this run has '{args.text_encoder}'; pass that one")
    return content


def own_text_encoder(args: argparse.Namespace, content: dict) -> ScratchTextEncoder:
    """An untrained encoder from scratch with the subwords of an initial checkpoint; this run's texts may be others."""
    path = args.initial_checkpoint
    config = build_text_encoder(content["text_encoder"], "cpu", str(path)).config
    _require_equal(
        path,
        {"scratch_dim": config.dim, "scratch_layers": config.num_layers},
        {"scratch_dim": args.scratch_dim, "scratch_layers": args.scratch_layers},
    )
    return ScratchTextEncoder(dataclasses.replace(config, dropout=args.dropout))


def start_from(model: TextToLatent, content: dict, path: Path) -> None:
    """Give a model the weights of an initial checkpoint. Raises UserError if the two do not have the same parts."""
    kept, config = build_config(FlowConfig, content["config"], str(path)), model.net.config
    names = [
        *_OF_NETWORK,
        *(_OF_PRIOR if config.prior_type != "none" else ()),
        *(_OF_MEAN if config.start == "mean" else ()),
    ]
    _require_equal(path, *({name: getattr(each, name) for name in names} for each in (kept, config)))
    if config.use_sync_guidance and kept.sync_pulls_lag != config.sync_pulls_lag:
        raise UserError(f"{path}: an earlier version trained its sync head for another guidance; train it again")
    _require_same_encoder(model.text_encoder, content, path)
    signers = tuple(content.get("signers", ()))
    if signers != model.signers:
        kept_signers, own_signers = (", ".join(names) or "none" for names in (signers, model.signers))
        raise UserError(
            f"{path}: its signers are {kept_signers}, but those of this run are {own_signers}; they must be the same"
        )
    load_weights(model, content["weights"], str(path))


def _require_same_encoder(encoder: TextEncoder, content: dict, path: Path) -> None:
    """Raises UserError for a pretrained encoder other than the checkpoint's. One from scratch comes from there."""
    if not isinstance(encoder, ScratchTextEncoder) and not same_text_encoder(
        content["text_encoder"], describe_text_encoder(encoder)
    ):
        raise UserError(f"{path}: trained with another text encoder; name that one by --text_encoder")


def _require_equal(path: Path, kept: dict[str, object], ours: dict[str, object]) -> None:
    """Raises UserError that names what differs between a checkpoint and this run."""
    differ = [f"{name} {value} (here {ours[name]})" for name, value in kept.items() if ours[name] != value]
    if differ:
        raise UserError(f"{path}: a flow with {', '.join(differ)}; give the flags with which it was trained")
