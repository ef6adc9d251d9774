"""A page in the browser, on this machine alone: type a text, see it signed, download the clip.

    make app
    .venv-app/bin/python demo_app.py --predictor_checkpoint runs/predictor/best_model.pt \\
        --flow_checkpoint runs/student/best_model.pt runs/flow/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --data_dir data/phoenix14t --port 7860

`make app` shows the models of `make demo`. The page signs as inference.py and inference_latent_flow.py do: the same
seed and settings give the same clip. It needs gradio (`make .venv-app` installs it) and no network. Its clips are in a
temporary folder, which is removed when Ctrl-C closes the page.
"""

import argparse
import importlib.util
import os
import tempfile
from pathlib import Path

import generation_arguments
from app.directions import load_directions
from app.page import SPLIT_OF_EXAMPLES, build_page, listen, serve
from app.shelf import Shelf
from poses.files import list_clips
from runtime import cpu, errors
from runtime.arguments import add_cache_argument, make_parser, number_parser
from runtime.errors import UserError

NUM_EXAMPLES = 6  # texts of --data_dir


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--predictor_checkpoint", type=Path, help="best_model.pt of stage 2, Direction 1")
    parser.add_argument(
        "--flow_checkpoint",
        nargs="+",
        type=Path,
        default=[],
        help="best_model.pt of stage 2 or stage 3, one or several",
    )
    generation_arguments.add_autoencoder_argument(parser)
    parser.add_argument(
        "--data_dir",
        type=Path,
        help=f"stop unless this data set's statistics match the checkpoint's; texts of its {SPLIT_OF_EXAMPLES} are "
        "offered as examples",
    )
    add_cache_argument(parser)
    generation_arguments.add_image_size_argument(parser)
    parser.add_argument(
        "--port",
        type=number_parser(int, "the number of a port", lambda value: value >= 0, 65535),
        default=7860,
        help="port of the page; 0 uses a free one (default 7860)",
    )
    generation_arguments.add_moved_text_encoder_argument(parser)
    generation_arguments.add_speed_arguments(parser)
    generation_arguments.add_device_argument(parser)
    args = generation_arguments.parse_arguments(parser)
    if args.predictor_checkpoint is None and not args.flow_checkpoint:
        parser.error("nothing to sign with; pass --predictor_checkpoint, --flow_checkpoint or both")
    return args


def main() -> None:
    args = parse_arguments()
    if importlib.util.find_spec("gradio") is None:
        raise UserError("gradio is missing; `make .venv-app` installs it, then .venv-app/bin/python runs demo_app.py")
    cpu.tune()
    device = generation_arguments.resolve_device(args.device)
    with listen(args.port) as listener, tempfile.TemporaryDirectory(prefix="signing_") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        directions, examples = load_directions(args, device), []
        if args.data_dir is not None:
            texts = list_clips(args.data_dir, SPLIT_OF_EXAMPLES).values()
            examples = list(dict.fromkeys(filter(None, texts)))[:NUM_EXAMPLES]
        shelf = Shelf(Path(folder, "clips"), args.image_size)
        serve(build_page(directions, examples, shelf), shelf, listener)


if __name__ == "__main__":
    errors.run(main)
