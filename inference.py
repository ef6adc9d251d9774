"""Direction 1: sign a text with the predictor.

    python inference.py --text "Hello world" --predictor_checkpoint runs/predictor/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --output_path output_pose.npy --target_length 50 \\
        --data_dir data/phoenix14t

Writes OUTPUT_PATH, [T,214] float32 in data units, and a .json beside it: seconds, seed, checkpoints. If the path ends
in .pose, it is a MediaPipe Holistic file for other viewers.
"""

from pathlib import Path

import generation_arguments
from checkpoints import PREDICTOR
from generation import load_generator
from models.speed import Speed
from runtime import cpu, errors
from runtime.arguments import make_parser
from signing import read_jobs, sign_to_files


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--predictor_checkpoint", required=True, type=Path, help="best_model.pt of Direction 1, or an exported folder"
    )
    generation_arguments.add_autoencoder_argument(parser)
    generation_arguments.add_inference_arguments(parser)
    args = generation_arguments.parse_arguments(parser)
    jobs = read_jobs(args)
    cpu.tune()

    generator = load_generator(
        args.predictor_checkpoint,
        args.autoencoder_checkpoint,
        generation_arguments.join_processes(args.device),
        kinds=(PREDICTOR,),
        text_encoder=args.text_encoder,
        speed=Speed(args.precision, args.compiled),
    )
    checkpoints = {"predictor": args.predictor_checkpoint, "autoencoder": args.autoencoder_checkpoint}
    sign_to_files(generator, jobs, args, checkpoints)


if __name__ == "__main__":
    errors.run(main)
