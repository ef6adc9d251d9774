"""The page: its fields, what it says of a clip, and the server that shows it on this machine alone."""

import errno
import html
import socket

from app.directions import Direction, sign
from app.shelf import ENDINGS, Shelf
from checkpoints import FLOW, PREDICTOR, STUDENT
from generation import TIMED_PARTS
from poses.files import SPLITS
from poses.writing import DEFAULT_FPS
from runtime.errors import UserError

HOST = "127.0.0.1"
TITLE = "Text to signing"
SPLIT_OF_EXAMPLES = SPLITS[1]  # what training did not see, and no test
NUMBER = {"max_lines": 1, "min_width": 120}  # gradio's own field of a number can't be left empty
TO_THE_CLIP = "() => { if (innerWidth < 700) document.querySelector('#outcome').scrollIntoView(); }"  # on a phone
CSS = """
footer { display: none !important; }
.wrong { color: light-dark(#a4161a, #ff8a80); font-weight: 600; }
.latency { font-variant-numeric: tabular-nums; margin: 0 0 8px; }
.take a { display: inline-block; margin: 0 8px 8px 0; padding: 8px 14px; border: 1px solid; border-radius: 6px; }
iframe { width: 100%; height: min(78vh, 720px); border: 0; }
"""


def describe(record: dict[str, object], name: str) -> str:
    """What the page says of the clip of that name on the shelf, as HTML."""
    seconds, fps = record["seconds"], record["fps"]
    rate = f"{record['frames']} frames at {fps or DEFAULT_FPS:g} per second"
    rate += "" if fps else " (the checkpoint's data did not say their rate)"
    parts = " + ".join(f"{part} {1000 * seconds[part]:.1f}" for part in TIMED_PARTS)
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
