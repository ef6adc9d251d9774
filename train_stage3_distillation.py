"""Stage 3: distil the guided 50-step teacher into one student of 1, 2 and 4 steps.

    python train_stage3_distillation.py --data_dir data/phoenix14t --output_dir runs/student \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --teacher_checkpoint runs/flow/best_model.pt \\
        --num_teacher_steps 50 --num_workers 4

The teacher's trajectories are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR; the student replaces the teacher in inference_latent_flow.py and evaluate.py.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import generation_arguments
from checkpoints import FLOW, STUDENT, load_text_to_latent, require_equal
from dataset import Batch, LatentDataset
from models.consistency_distillation import STEP_COUNTS, Student, StudentConfig
from models.flow_matching import SamplingSettings, SettingRefused
from models.latent_flow_matcher import FlowConfig
from models.text_encoder import ScratchTextEncoder
from models.text_to_latent import TextToLatent
from models.whole_batch import Draws
from poses.files import SPLITS
from runtime import cpu, errors
from runtime.arguments import (
    add_repeated_arguments,
    build_dataclass,
    fraction,
    make_parser,
    natural_float,
    positive_int,
)
from runtime.console import say
from runtime.errors import UserError
from training import latent_stages
from training.engine import split_loader, start, train
from training.latents import LatentSource, conditions, latent_dataset, text_pack
from training.precision import width_of
from training.settings import TrainSettings
from training.state import Losses
from training.trajectories import TRAJECTORIES_VERSION, join_starts, starts_of_clips, trajectory_pack

NUM_SEGMENTS = max(STEP_COUNTS)
TEACHERS_OWN = ("hidden_dim", "num_heads")  # the student starts as a copy


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    latent_stages.add_latent_stage_arguments(parser, num_epochs=50, learning_rate=1e-4)
    parser.add_argument(
        "--teacher_checkpoint",
        required=True,
        type=Path,
        help="best_model.pt of train_stage2_latent_flow.py, or an exported folder",
    )
    parser.add_argument(
        "--num_teacher_steps", type=positive_int, default=50, help="ODE steps per trajectory (default 50)"
    )
    parser.add_argument(
        "--guidance_scale", type=natural_float, help="guidance scale that the student learns (default: the teacher's)"
    )
    parser.add_argument(
        "--guidance_start", type=natural_float, help="time at which this guidance begins (default: the teacher's)"
    )
    parser.add_argument(
        "--trajectories_per_clip",
        type=positive_int,
        default=8,
        help="trajectories for each train clip, each from its own noise (default 8)",
    )
    parser.add_argument(
        "--joined_texts",
        type=fraction,
        default=0.5,
        help="share of trajectories whose text begins as one train text and ends as another (default 0.5)",
    )
    parser.add_argument(
        "--num_layers",
        type=positive_int,
        help="the student's layers, taken evenly from its teacher's; fewer are faster (default: all)",
    )
    add_repeated_arguments(parser, "the teacher's checkpoint", FlowConfig, TEACHERS_OWN)
    generation_arguments.add_moved_text_encoder_argument(parser)
    args = parser.parse_args()
    if args.num_teacher_steps < NUM_SEGMENTS:
        parser.error(f"--num_teacher_steps {args.num_teacher_steps}: a teacher needs at least {NUM_SEGMENTS}")
    return args


def load_teacher(args: argparse.Namespace, fingerprint: str, device: torch.device) -> tuple[TextToLatent, dict]:
    """The teacher and its checkpoint's content, checked against the flags; `fingerprint` of its autoencoder."""
    teacher, content = load_text_to_latent(args.teacher_checkpoint, (FLOW,), fingerprint, device, args.text_encoder)
    for name in TEACHERS_OWN:
        require_equal(f"--{name}", getattr(args, name), getattr(teacher.net.config, name), args.teacher_checkpoint)
    layers = teacher.net.config.num_layers
    if args.num_layers is not None and args.num_layers > layers:
        raise UserError(f"--num_layers {args.num_layers}: the teacher has {layers}, of which its student keeps some")
    return teacher, content


def guide(teacher: TextToLatent, args: argparse.Namespace) -> None:
    """Make the teacher guide as the flags ask; raises UserError if it has not learnt to be guided."""
    asked = SamplingSettings(args.num_teacher_steps, args.guidance_scale, args.guidance_start)
    try:
        found = teacher.net.resolve(asked)
    except SettingRefused as error:
        advice = "" if str(error).startswith("guidance_start") else ", or pass --guidance_scale 1"
        raise UserError(f"{args.teacher_checkpoint}: {error}; leave the flag out{advice}") from None
    teacher.net.config = dataclasses.replace(
        teacher.net.config, guidance_scale=found.guidance_scale, guidance_start=found.guidance_start
    )


def require_teachers_limit(source: LatentSource, teacher: TextToLatent, path: Path) -> None:
    """Raises UserError if train clips would get other lengths than those that the teacher has learnt."""
    squeezed, limit = latent_stages.squeezed_to(source), teacher.net.config.max_frames
    longest = int(source.clips("train").lengths("pose").max())
    if squeezed not in (None, limit) or (limit is not None and min(longest, source.max_seq_len) > limit):
        learnt = f"squeezed to {limit} frames" if limit else "at their own lengths, or cropped"
        advice = f"--max_seq_len {limit}" if limit else f"--max_seq_len {longest}, or --long_clips crop as it did"
        raise UserError(f"{path}: the teacher has learnt long clips {learnt}; pass {advice}")


def make_student(teacher: TextToLatent, num_layers: int) -> TextToLatent:
    """A student around the teacher's text encoder, length predictor and scale; only its velocity net is trained."""
    encoder = teacher.text_encoder
    if isinstance(encoder, ScratchTextEncoder):
        encoder = ScratchTextEncoder(dataclasses.replace(encoder.config, dropout=0.0))
    net = Student(StudentConfig.of_teacher(teacher.net.config, num_layers))
    student = TextToLatent(net, encoder, teacher.signers)
    shared = {name: value for name, value in teacher.state_dict().items() if not name.startswith("net.")}
    student.load_state_dict(shared, strict=False)
    student.net.start_from(teacher.net)
    student.requires_grad_(False).net.velocity_net.requires_grad_(True)
    return student


def loss(model: TextToLatent, batch: Batch, draws: Draws) -> Losses:
    cond, cond_mask = conditions(model, batch)
    states = batch["states"].unflatten(2, (NUM_SEGMENTS + 1, -1)).transpose(1, 2)  # [B,S+1,N,D]
    return model.net.loss(states, batch["states_mask"], cond, cond_mask, draws)


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    accelerator = start(settings, width_of(args.teacher_checkpoint))

    source = latent_stages.open_source(args, accelerator.device)
    teacher, content = load_teacher(args, source.fingerprint, accelerator.device)
    source = source.in_space(teacher.net.config.space)
    latent_stages.require_shape(args, source)
    latent_stages.look_through(source, with_texts=SPLITS)
    require_teachers_limit(source, teacher, args.teacher_checkpoint)
    guide(teacher, args)

    def loader(split: str) -> DataLoader:
        clips = latent_dataset(source, split, teacher.text_encoder, accelerator.device, labelled=True)
        starts, texts = starts_of_clips(clips), clips.texts
        if split == "train":
            num_joined = round(args.joined_texts * args.trajectories_per_clip)
            more = join_starts(starts, num_joined, settings.seed)
            say(f"trajectories: {args.trajectories_per_clip} for each train clip, {num_joined} of them of joined texts")
            starts = [*starts * (args.trajectories_per_clip - num_joined), *more]
            if texts is not None:
                texts = text_pack(teacher.text_encoder, [start.text for start in starts], source.cache_dir)
        pack = trajectory_pack(
            teacher,
            content["fingerprint"],
            starts,
            texts,
            source,
            num_teacher_steps=args.num_teacher_steps,
            num_segments=NUM_SEGMENTS,
            seed=settings.seed,
        )
        signer_of = {start.id: start.signer for start in starts} if clips.signers else {}
        signers = {name: signer_of[name.rpartition("#")[0]] for name in pack.ids} if clips.signers else None
        return split_loader(LatentDataset(pack, texts, signers), split, settings, accelerator)

    student = make_student(teacher, args.num_layers or teacher.net.config.num_layers)
    made_from = {
        "teacher": content["fingerprint"],
        "trajectories": str(TRAJECTORIES_VERSION),
        "steps_learnt": "equally",
    }
    stage = latent_stages.latent_stage(STUDENT, student, loss, source, args, **made_from)
    train(accelerator, stage, loader("train"), loader("dev"), partial(loader, "test"), settings)


if __name__ == "__main__":
    errors.run(main)
