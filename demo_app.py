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
import errno
import html
import importlib.util
import itertools
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import generation_arguments
from checkpoints import FLOW, PREDICTOR, STUDENT
from evaluation.sync import nmm_scale
from generation import PARTS, Generated, Generator, load_generator, stripped, widest_layer
from models.flow_matching import SamplingSettings
from models.speed import Speed
from poses.files import SPLITS, list_clips, read_pose
from poses.page import Entry, Shown, write_page
from poses.render import video
from poses.writing import CLIP_FORMATS, DEFAULT_FPS, write_clip
from runtime import cpu, errors
from runtime.arguments import (
    T,
    add_cache_argument,
    frames,
    make_parser,
    natural_float,
    natural_int,
    number_parser,
    port,
)
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.precision import use_threads

HOST = "127.0.0.1"
TITLE = "Text to signing"
ENDINGS = (".pose", ".mp4", ".npy", ".json")  # the formats of the downloads
KEPT = 50  # clips; older ones are removed
NUM_EXAMPLES = 6  # texts of --data_dir
SPLIT_OF_EXAMPLES = SPLITS[1]  # what training did not see, and no test


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
    parser.add_argument("--port", type=port, default=7860, help="port of the page; 0 uses a free one (default 7860)")
    generation_arguments.add_moved_text_encoder_argument(parser)
    generation_arguments.add_speed_arguments(parser)
    generation_arguments.add_device_argument(parser)
    args = parser.parse_args()
    if args.predictor_checkpoint is None and not args.flow_checkpoint:
        parser.error("nothing to sign with; pass --predictor_checkpoint, --flow_checkpoint or both")
    return args


num_steps = number_parser(int, "a positive whole number", lambda value: value >= 1, 1000)  # a page can't be hurried


# ---- signing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Direction:
    """One direction's models, ready to sign; `checkpoints`: paths by name, for the .json beside a clip."""

    name: str
    generator: Generator
    checkpoints: dict[str, Path]


def load_directions(args: argparse.Namespace) -> list[Direction]:
    """Every model that the flags name, each loaded once and warmed up by one clip."""
    device, speed = generation_arguments.resolve_device(args.device), Speed(args.precision, args.compiled)
    asked = [("predictor", args.predictor_checkpoint, (PREDICTOR,))] if args.predictor_checkpoint else []
    asked += [("flow", path, (FLOW, STUDENT)) for path in args.flow_checkpoint]
    directions: dict[str, Direction] = {}
    for name, path, kinds in asked:
        generator = load_generator(
            path, args.autoencoder_checkpoint, device, speed=speed, text_encoder=args.text_encoder, kinds=kinds
        )
        kind = generator.model.net.kind
        label = f"Direction {1 if kind == PREDICTOR else 2}: {kind}"
        if label in directions:
            label += f" ({path})"
        if label in directions:
            raise UserError(f"--flow_checkpoint {path}: given several times; name it once")
        directions[label] = Direction(label, generator, {name: path, "autoencoder": args.autoencoder_checkpoint})
    generators = [direction.generator for direction in directions.values()]
    width = max(widest_layer(generator.model, generator.autoencoder) for generator in generators)
    use_threads(width, device.type)  # each model has set the threads for itself as it was loaded
    for direction in directions.values():
        if args.data_dir is not None:
            direction.generator.require_data(args.data_dir, args.cache_dir, args.autoencoder_checkpoint)
        direction.generator.generate(["a"], [0], [25])
    return list(directions.values())


def typed(name: str, text: str, parse: Callable[[str], T]) -> T | None:
    """A field's number, None where it is empty; raises UserError if it does not fit, as for the scripts' flags."""
    if not text.strip():
        return None
    try:
        return parse(text.strip())
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{name}: {error}") from None


def sign(
    direction: Direction,
    text: str,
    steps: str = "",
    guidance: str = "",
    length: str = "",
    seed: str = "",
    signer: str = "",
) -> tuple[Generated, dict[str, object]]:
    """The clip that the inference scripts would make, and its record. The models decide empty fields."""
    text = stripped(text)
    settings = SamplingSettings(typed("steps", steps, num_steps), typed("guidance", guidance, natural_float))
    lengths, seed = typed("length", length, frames), typed("seed", seed, natural_int) or 0
    if direction.generator.model.net.kind == PREDICTOR and settings != SamplingSettings():
        raise UserError("Direction 1 has neither steps nor guidance; leave both fields empty")
    try:
        generator = direction.generator.with_sampling(settings)
    except ValueError as error:
        raise UserError(f"{error}; leave the field empty") from None
    (clip,) = generator.generate([text], [seed], [lengths] if lengths else None, signers=[signer or None])
    return clip, generator.record(clip, text, seed, direction.checkpoints)


# ---- the page --------------------------------------------------------------------------------------------------------

NUMBER = {"max_lines": 1, "min_width": 120}  # gradio's own field of a number can't be left empty
TO_THE_CLIP = "() => { if (innerWidth < 700) document.querySelector('#outcome').scrollIntoView(); }"  # on a phone
CSS = """
footer { display: none !important; }
.wrong { color: light-dark(#a4161a, #ff8a80); font-weight: 600; }
.latency { font-variant-numeric: tabular-nums; margin: 0 0 8px; }
.take a { display: inline-block; margin: 0 8px 8px 0; padding: 8px 14px; border: 1px solid; border-radius: 6px; }
iframe { width: 100%; height: min(78vh, 720px); border: 0; }
"""


class Shelf:
    """The newest clips, one folder each, in every format of ENDINGS; a video is drawn when it is first requested."""

    def __init__(self, folder: Path, image_size: Sequence[int] | None) -> None:
        self.folder, self.image_size = folder, image_size
        folder.mkdir()
        self.aspect = image_size[0] / image_size[1] if image_size else 1.0
        self.numbers, self.entries = itertools.count(1), {}

    def add(self, clip: Generated, record: dict[str, object], label: str) -> str:
        """Write a clip's files, and `page.html`, which plays it; returns the name of its folder and its files."""
        name = f"clip{next(self.numbers):04d}"
        folder, fps = self.folder / name, record["fps"] or DEFAULT_FPS
        for ending in CLIP_FORMATS:
            write_clip(folder / f"{name}{ending}", clip.pose, fps, self.image_size)
        with write_whole(folder / f"{name}.json", "w") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
        written = read_pose(folder / f"{name}.npy")
        entry = Entry(name, str(record["text"]), fps, {label: Shown(written.pose, written.seen)})
        write_page(folder / "page.html", label, [entry], nmm_scale([written]), aspect=self.aspect)
        self.entries[name] = entry
        if len(self.entries) > KEPT:
            oldest = next(iter(self.entries))
            del self.entries[oldest]
            shutil.rmtree(self.folder / oldest)
        return name

    def video(self, name: str) -> Path:
        """The path of a clip's video. Raises KeyError if there is no such clip, or no longer."""
        entry, path = self.entries[name], self.folder / name / f"{name}.mp4"
        if not path.exists():
            columns = [(label, np.where(clip.seen, clip.pose, np.nan)) for label, clip in entry.clips.items()]
            video(columns, path, entry.fps, aspect=self.aspect)
        return path


def describe(record: dict[str, object], name: str) -> str:
    """What the page says of the clip of that name on the shelf, as HTML."""
    seconds, fps = record["seconds"], record["fps"]
    rate = f"{record['frames']} frames at {fps or DEFAULT_FPS:g} per second"
    rate += "" if fps else " (the checkpoint's data did not say their rate)"
    parts = " + ".join(f"{part} {1000 * seconds[part]:.1f}" for part in PARTS)
    latency = f"made in {1000 * sum(seconds.values()):.1f} ms ({parts})"
    links = "".join(f'<a href="/clips/{name}/{name}{ending}" download>{ending}</a>' for ending in ENDINGS)
    how = f"seed {record['seed']}, {record['num_steps']} step{'s' if record['num_steps'] > 1 else ''}"
    how += f", signed by {html.escape(str(record['signer']))}" if "signer" in record else ""
    how += f", guidance {record['guidance_scale']:g}" if "guidance_scale" in record else ""
    page = f'<iframe src="/clips/{name}/page.html#play" title="the signing"></iframe>'
    return f'<p class="latency"><b>{latency}</b><br>{rate}, {how}</p>{page}<p class="take">download: {links}</p>'


def fields_of(direction: Direction) -> list[dict[str, object]]:
    """What the fields of steps, guidance and signer offer for these models."""
    net, sampling = direction.generator.model.net, direction.generator.sampling
    signers = direction.generator.model.signers
    of_signer = {"choices": [("drawn by the seed", ""), *signers], "value": "", "visible": bool(signers)}
    if net.kind == PREDICTOR:
        return [{"value": "", "placeholder": "has none", "interactive": False}] * 2 + [of_signer]
    steps, guidance = f"{sampling.num_steps}", f"{sampling.guidance_scale:g}"
    if net.kind == STUDENT:
        steps += f" (of {', '.join(map(str, net.config.step_counts))})"
    return [
        {"value": "", "placeholder": steps, "interactive": True},
        {"value": "", "placeholder": guidance, "interactive": net.kind == FLOW},
        of_signer,
    ]


def build_page(directions: list[Direction], examples: list[str], shelf: Shelf) -> object:
    """The page, a `gradio.Blocks`, which puts what it makes on the shelf."""
    import gradio as gr

    by_name = {direction.name: direction for direction in directions}

    def show(name: str, text: str, *fields: str) -> str:
        try:
            clip, record = sign(by_name[name], text, *fields)
            return describe(record, shelf.add(clip, record, name))
        except UserError as error:
            return f'<p class="wrong" role="alert">{html.escape(str(error))}</p>'

    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(f"# {TITLE}")
        with gr.Row():
            with gr.Column(min_width=300):
                text = gr.Textbox(label="text", lines=1, max_lines=6, elem_id="text", autofocus=True)
                if examples:
                    gr.Examples(examples, text, label=f"texts of the data set's {SPLIT_OF_EXAMPLES}")
                name = gr.Radio(list(by_name), value=directions[0].name, label="models", elem_id="models")
                of_steps, of_guidance, of_signer = fields_of(directions[0])
                with gr.Row():
                    steps = gr.Textbox(label="steps", elem_id="steps", **NUMBER, **of_steps)
                    guidance = gr.Textbox(label="guidance", elem_id="guidance", **NUMBER, **of_guidance)
                with gr.Row():
                    decided = {"placeholder": "the text decides"}
                    length = gr.Textbox(label="length, frames", elem_id="length", **NUMBER, **decided)
                    seed = gr.Textbox(label="seed", value="0", elem_id="seed", **NUMBER)
                signer = gr.Dropdown(label="signer", elem_id="signer", **of_signer)
                button = gr.Button("Sign it", variant="primary", elem_id="sign")
            with gr.Column(scale=2, min_width=320):
                outcome = gr.HTML(elem_id="outcome")
        fields = {direction.name: [gr.update(**field) for field in fields_of(direction)] for direction in directions}
        name.change(fields.get, name, [steps, guidance, signer], api_visibility="private")
        typed_in = [name, text, steps, guidance, length, seed, signer]
        signed = gr.on([button.click, text.submit], show, typed_in, outcome, api_visibility="private")
        signed.then(None, js=TO_THE_CLIP)
    return blocks


def listen(number: int) -> socket.socket:
    """A socket of this machine alone, on a port that nobody else has."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, number))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise UserError(f"--port {number}: {reason}; choose another one, or 0 for a free one") from None
    return listener


def serve(blocks: object, shelf: Shelf, listener: socket.socket) -> None:
    """Answer the browser until Ctrl-C."""
    import fastapi
    import gradio as gr
    import uvicorn
    from starlette.exceptions import HTTPException
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import FileResponse
    from starlette.staticfiles import StaticFiles

    app = fastapi.FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # no other page may ask it by a name

    @app.get("/clips/{name}/{file}.mp4")
    def show_video(name: str, file: str) -> FileResponse:
        try:
            return FileResponse(shelf.video(name))
        except KeyError:
            raise HTTPException(404) from None

    app.mount("/clips", StaticFiles(directory=shelf.folder))
    theme = gr.themes.Default(font=["system-ui", "sans-serif"])
    gr.mount_gradio_app(app, blocks, "/", footer_links=[], run_history=False, ssr_mode=False, theme=theme, css=CSS)
    print(f"open http://{HOST}:{listener.getsockname()[1]} in a browser; Ctrl-C here closes the page", flush=True)
    try:
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).run([listener])
    except KeyboardInterrupt:
        print("the page is closed, and its clips are removed, apart from downloads")


def main() -> None:
    args = parse_arguments()
    if importlib.util.find_spec("gradio") is None:
        raise UserError("gradio is missing; `make .venv-app` installs it, then .venv-app/bin/python runs demo_app.py")
    cpu.tune()
    with listen(args.port) as listener, tempfile.TemporaryDirectory(prefix="signing_") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        directions, examples = load_directions(args), []
        if args.data_dir is not None:
            texts = list_clips(args.data_dir, SPLIT_OF_EXAMPLES).values()
            examples = list(dict.fromkeys(filter(None, texts)))[:NUM_EXAMPLES]
        shelf = Shelf(Path(folder, "clips"), args.image_size)
        serve(build_page(directions, examples, shelf), shelf, listener)


if __name__ == "__main__":
    errors.run(main)
