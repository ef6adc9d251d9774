"""Direction 1: sign a text with the predictor.

    python inference.py --text "Hello world" --predictor_checkpoint runs/predictor/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --output_path output_pose.npy --target_length 50 \\
        --data_dir data/phoenix14t

Writes OUTPUT_PATH, [T,214] float32 in data units, and a .json beside it: seconds, seed, checkpoints.
"""

from pathlib import Path

from checkpoints import PREDICTOR
from generation import load_generator, sign_to_files
from runtime import errors
from runtime.arguments import make_parser
from training import arguments


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--predictor_checkpoint", required=True, type=Path, help="best_model.pt of stage 2, Direction 1"
    )
    arguments.add_autoencoder_argument(parser)
    arguments.add_inference_arguments(parser)
    args = parser.parse_args()

    device = arguments.resolve_device(args.device)
    generator = load_generator(
        args.predictor_checkpoint, args.autoencoder_checkpoint, device, kinds=(PREDICTOR,),
        precision=args.precision, compiled=args.compiled,
    )  # fmt: skip
    checkpoints = {"predictor": args.predictor_checkpoint, "autoencoder": args.autoencoder_checkpoint}
    for path in sign_to_files(generator, args, checkpoints):
        print(f"wrote {path} and {path.with_suffix('.json')}")


if __name__ == "__main__":
    errors.run(main)
