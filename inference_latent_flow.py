"""Direction 2: sign a text with the flow (50 steps) or its distilled student (1, 2 or 4 steps).

    python inference_latent_flow.py --text "Hello world" --flow_checkpoint runs/student/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --output_path output_pose.npy --target_length 50 \\
        --num_steps 4 --use_ssm_prior --use_sync_guidance --data_dir data/phoenix14t

Writes OUTPUT_PATH, [T,214] float32 in data units, and a .json beside it: seconds, steps, seed, checkpoints. If the path
ends in .pose, it is a MediaPipe Holistic file for other viewers.
"""

from pathlib import Path

import generation_arguments
from checkpoints import FLOW, STUDENT
from generation import load_generator
from models.speed import Speed
from runtime import cpu, errors
from runtime.arguments import make_parser
from signing import read_jobs, sign_to_files


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--flow_checkpoint", required=True, type=Path, help="best_model.pt of stage 2 or 3, or an exported folder"
    )
    generation_arguments.add_autoencoder_argument(parser)
    generation_arguments.add_inference_arguments(parser)
    generation_arguments.add_sampling_arguments(parser)
    args = generation_arguments.parse_arguments(parser)
    jobs = read_jobs(args)
    cpu.tune()

    generator = load_generator(
        args.flow_checkpoint,
        args.autoencoder_checkpoint,
        generation_arguments.join_processes(args.device),
        generation_arguments.sampling_settings(args),
        kinds=(FLOW, STUDENT),
        text_encoder=args.text_encoder,
        speed=Speed(args.precision, args.compiled),
    )
    checkpoints = {"flow": args.flow_checkpoint, "autoencoder": args.autoencoder_checkpoint}
    sign_to_files(generator, jobs, args, checkpoints)


if __name__ == "__main__":
    errors.run(main)
