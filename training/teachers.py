"""Stage 3's teacher: read from its checkpoint, and checked against the flags and the data."""

import argparse
import dataclasses
from pathlib import Path

import torch

from checkpoints import FLOW, load_text_to_latent, require_equal
from models.sampling_settings import SamplingSettings, SettingRefused
from models.text_to_latent import TextToLatent
from runtime.errors import UserError
from training import latent_stages
from training.latents import LatentSource

TEACHERS_OWN = ("hidden_dim", "num_heads")  # flags that must equal the teacher's, as the student starts as its copy


def load_teacher(args: argparse.Namespace, fingerprint: str, device: torch.device) -> tuple[TextToLatent, dict]:
    """The teacher and its checkpoint's content, checked against the flags; `fingerprint` of its autoencoder."""
    teacher, content = load_text_to_latent(args.teacher_checkpoint, (FLOW,), fingerprint, device, args.text_encoder)
    for name in TEACHERS_OWN:
        require_equal(f"--{name}", getattr(args, name), getattr(teacher.net.config, name), args.teacher_checkpoint)
    layers = teacher.net.config.num_layers
    if args.num_layers is not None and args.num_layers > layers:
        raise UserError(f"--num_layers {args.num_layers}: the teacher has {layers}, of which its student keeps some")
    return teacher, content


def set_guidance(teacher: TextToLatent, args: argparse.Namespace) -> None:
    """Make the teacher guide as the flags ask; raises UserError if it has not learnt to be guided."""
    asked = SamplingSettings(args.num_teacher_steps, args.guidance_scale, args.guidance_start)
    try:
        found = teacher.net.resolve(asked)
    except SettingRefused as error:
        advice = "" if error.setting == "guidance_start" else ", or pass --guidance_scale 1"
        raise UserError(f"{args.teacher_checkpoint}: {error}; leave the flag out{advice}") from None
    teacher.net.config = dataclasses.replace(
        teacher.net.config, guidance_scale=found.guidance_scale, guidance_start=found.guidance_start
    )


def require_same_lengths(source: LatentSource, teacher: TextToLatent, path: Path) -> None:
    """Raises UserError if train clips would get other lengths than those that the teacher has learnt."""
    squeezed, limit = latent_stages.squeezed_to(source), teacher.net.config.max_frames
    longest = int(source.clips("train").lengths("pose").max())
    if limit is None and squeezed is None and longest > source.max_seq_len:
        print(f"note: {path} is taken to have learnt long clips cropped to {source.max_seq_len} frames, too")
    ours, theirs = min(longest, source.max_seq_len), min(longest, limit or longest)
    if squeezed not in (None, limit) or (limit is not None and ours != theirs):
        learnt = f"squeezed to {limit} frames" if limit else "at their own lengths, or cropped"
        advice = f"--max_seq_len {limit}" if limit else f"--max_seq_len {longest}, or --long_clips crop as it did"
        raise UserError(f"{path}: the teacher has learnt long clips {learnt}; pass {advice}")


def require_known_signers(source: LatentSource, teacher: TextToLatent, path: Path) -> None:
    """Raises UserError if the data set names other signers than the teacher knows, or none where it knows some."""
    if not teacher.signers:
        return
    named = source.signer_names()
    unknown = sorted(set(named) - set(teacher.signers))
    if unknown or not named:
        fault = f"names {', '.join(unknown[:3])}, whom the teacher does not know" if unknown else "names no signers"
        raise UserError(
            f"{path}: the teacher knows {', '.join(teacher.signers[:3])}{', …' if len(teacher.signers) > 3 else ''}, "
            f"and {source.data_dir} {fault}; use the data set, with train.signers.txt, that the teacher was trained on"
        )
