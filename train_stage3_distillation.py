"""Stage 3: distil the guided 50-step teacher into one student of 1, 2 and 4 steps.

    python train_stage3_distillation.py --data_dir data/phoenix14t --output_dir runs/student \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --teacher_checkpoint runs/flow/best_model.pt \\
        --num_teacher_steps 50 --num_workers 4

The teacher's trajectories are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR; the student replaces the teacher in inference_latent_flow.py and evaluate.py.
"""

import argparse
from functools import partial
from pathlib import Path

from torch.utils.data import DataLoader

import generation_arguments
from checkpoints import STUDENT, require_same_latents
from dataset import Batch
from models.consistency_distillation import STEP_COUNTS
from models.flow_matching import MAX_STEPS
from models.latent_flow_matcher import FlowConfig
from models.text_to_latent import TextToLatent, make_student
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
from training import latent_stages
from training.engine import prepare_run, split_loader, train
from training.latents import conditions, latent_dataset
from training.mixed_precision import width_of
from training.settings import TrainSettings
from training.state import Losses
from training.teachers import TEACHERS_OWN, load_teacher, require_known_signers, require_same_lengths, set_guidance
from training.trajectories import (
    TRAJECTORIES_VERSION,
    TrajectorySampler,
    starts_of_clips,
    train_starts,
    trajectory_dataset,
)

NUM_SEGMENTS = max(STEP_COUNTS)


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
        "--num_teacher_steps",
        type=generation_arguments.num_steps,
        default=50,
        help=f"ODE steps per trajectory, at most {MAX_STEPS} (default 50)",
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


def loss(model: TextToLatent, batch: Batch, draws: Draws) -> Losses:
    cond, cond_mask = conditions(model, batch)
    states = batch["states"].unflatten(2, (NUM_SEGMENTS + 1, -1)).transpose(1, 2)  # [B,S+1,N,D]
    return model.net.loss(states, batch["states_mask"], cond, cond_mask, draws)


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    accelerator = prepare_run(settings, width_of(args.teacher_checkpoint))

    source = latent_stages.open_source(args, accelerator.device)
    teacher, content = load_teacher(args, source.fingerprint, accelerator.device)
    source = source.in_space(teacher.net.config.space)
    require_same_latents(teacher.net.config, source.autoencoder.config, args.teacher_checkpoint)
    latent_stages.require_shape(args, source)
    latent_stages.read_all_splits(source, with_texts=SPLITS)
    require_same_lengths(source, teacher, args.teacher_checkpoint)
    require_known_signers(source, teacher, args.teacher_checkpoint)
    set_guidance(teacher, args)
    sampler = TrajectorySampler(teacher, content["fingerprint"], args.num_teacher_steps, NUM_SEGMENTS, settings.seed)

    def loader(split: str) -> DataLoader:
        starts = starts_of_clips(latent_dataset(source, split, teacher.text_encoder, accelerator.device, labelled=True))
        if split == "train":
            starts = train_starts(starts, args.trajectories_per_clip, args.joined_texts, settings.seed)
        return split_loader(trajectory_dataset(sampler, starts, source), split, settings, accelerator)

    student = make_student(teacher, args.num_layers or teacher.net.config.num_layers)
    stage = latent_stages.latent_stage(
        STUDENT,
        student,
        loss,
        source,
        args,
        learns_from="trajectories",
        begins_with=(content,),
        teacher=content["fingerprint"],
        trajectories=str(TRAJECTORIES_VERSION),
        steps_learnt="equally",
    )
    train(accelerator, stage, loader("train"), loader("dev"), partial(loader, "test"), settings)


if __name__ == "__main__":
    errors.run(main)
