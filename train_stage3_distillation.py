"""Stage 3: distil the guided 50-step teacher into one student of 1, 2 and 4 steps.

    python train_stage3_distillation.py --data_dir data/phoenix14t --output_dir runs/student \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --teacher_checkpoint runs/flow/best_model.pt \\
        --num_teacher_steps 50 --num_workers 4

The teacher's trajectories are computed once and kept in --cache_dir. Writes best_model.pt, last.pt, log.jsonl and
TensorBoard events to OUTPUT_DIR; the student takes the teacher's place in inference_latent_flow.py and evaluate.py.
"""

import argparse
import dataclasses

import torch

from checkpoints import FLOW, STUDENT, describe_text_encoder, load_text_to_latent, require_equal
from dataset import Batch, LatentDataset, make_loader
from models.consistency_distillation import distillation_loss
from models.latent_flow_matcher import LatentFlowMatcher
from models.text_encoder import SCRATCH, ScratchTextEncoder
from models.text_to_latent import TextToLatent
from runtime import errors
from runtime.arguments import make_parser, natural_float, positive_int
from runtime.errors import UserError
from training import arguments, stage2
from training.engine import Losses, Stage, make_accelerator, train
from training.latents import conditions, latent_dataset, trajectory_pack

STUDENT_STEPS = (1, 2, 4)
NUM_SEGMENTS = max(STUDENT_STEPS)
TEACHERS_OWN = ("hidden_dim", "num_heads")  # the student starts as a copy


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    stage2.add_stage2_arguments(parser, num_epochs=50, learning_rate=1e-4)
    parser.add_argument("--teacher_checkpoint", required=True, help="best_model.pt of train_stage2_latent_flow.py")
    parser.add_argument("--num_teacher_steps", type=positive_int, default=50, help="default 50")
    parser.add_argument("--guidance_scale", type=natural_float, help="folded in (default: the teacher's)")
    parser.add_argument(
        "--trajectories_per_clip", type=positive_int, default=8, help="of each train text (default 8)"
    )
    for name in TEACHERS_OWN:
        parser.add_argument(f"--{name}", type=positive_int, help="must be the teacher's (default: is)")
    parser.add_argument(
        "--num_layers", type=positive_int,
        help="of the student, evenly spaced ones of its teacher's: fewer are quicker (default: all)",
    )  # fmt: skip
    parser.add_argument("--text_encoder", help="must be the teacher's (default: is)")
    args = parser.parse_args()
    if args.num_teacher_steps < NUM_SEGMENTS:
        parser.error(f"--num_teacher_steps {args.num_teacher_steps}: a teacher takes at least {NUM_SEGMENTS}")
    return args


def make_student(teacher: TextToLatent, guidance_scale: float, num_layers: int) -> TextToLatent:
    """A copy of the teacher, of some of its layers, that also knows its step; only its velocity net is trained."""
    config = dataclasses.replace(
        teacher.net.config, student_steps=STUDENT_STEPS, guidance_scale=guidance_scale, dropout=0.0,
        num_inference_steps=NUM_SEGMENTS,
    )  # fmt: skip
    encoder = teacher.text_encoder
    if isinstance(encoder, ScratchTextEncoder):
        encoder = ScratchTextEncoder(dataclasses.replace(encoder.config, dropout=0.0))
    student = TextToLatent(LatentFlowMatcher(config), encoder)
    student.load_state_dict(teacher.state_dict(), strict=False)  # all but the step's embedding, which starts at zero
    student.net.keep_layers(num_layers)
    student.requires_grad_(False).net.velocity_net.requires_grad_(True)
    return student


def loss(model: TextToLatent, batch: Batch, generator: torch.Generator) -> Losses:
    cond, cond_mask = conditions(model, batch)
    states = batch["states"].unflatten(2, (NUM_SEGMENTS + 1, -1)).transpose(1, 2)  # [B,S+1,N,D]
    return distillation_loss(model.net, states, batch["states_mask"], cond, cond_mask, generator)


def main() -> None:
    args = parse_arguments()
    settings = arguments.train_settings(args)
    accelerator = make_accelerator(settings.mixed_precision)
    torch.manual_seed(settings.seed)

    source = stage2.open_source(args, accelerator.device)
    parent = {"fingerprint": source.fingerprint}
    teacher, content = load_text_to_latent(args.teacher_checkpoint, (FLOW,), parent, accelerator.device)
    source = source.in_space(teacher.net.config.space)
    stage2.require_shape(args, source)
    for name in TEACHERS_OWN:
        require_equal(f"--{name}", getattr(args, name), getattr(teacher.net.config, name), args.teacher_checkpoint)
    encoder_name = content["text_encoder"].get("name", SCRATCH)
    require_equal("--text_encoder", args.text_encoder, encoder_name, args.teacher_checkpoint)
    teacher_layers = teacher.net.config.num_layers
    num_layers = args.num_layers or teacher_layers
    if num_layers > teacher_layers:
        raise UserError(f"--num_layers {num_layers}: the teacher has {teacher_layers}, of which its student keeps some")
    guidance_scale = teacher.net.config.guidance_scale if args.guidance_scale is None else args.guidance_scale

    def loader(split: str) -> torch.utils.data.DataLoader:
        clips = latent_dataset(source, split, teacher.text_encoder, accelerator.device)
        pack = trajectory_pack(
            teacher, content["fingerprint"], clips, source.cache_dir, num_teacher_steps=args.num_teacher_steps,
            guidance_scale=guidance_scale, num_segments=NUM_SEGMENTS, seed=settings.seed,
            copies=args.trajectories_per_clip if split == "train" else 1,
        )  # fmt: skip
        return make_loader(
            LatentDataset(pack, clips.texts), settings.batch_size, shuffle=split == "train", seed=settings.seed,
            num_workers=settings.num_workers, rank=accelerator.process_index, world_size=accelerator.num_processes,
        )  # fmt: skip

    student = make_student(teacher, guidance_scale, num_layers)
    stage = Stage(
        STUDENT, student, dataclasses.asdict(student.net.config), loss, source.statistics, source.fingerprint,
        describe_text_encoder(student.text_encoder),
    )  # fmt: skip
    train(accelerator, stage, loader("train"), loader("dev"), lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
