"""demo_app.py's page in a real browser: `make test-browser` installs one, and gradio, and runs this."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import commands
import numpy as np
import pytest
from browser import Browser

from poses.single_clips import read_single_clip

pytest.importorskip("gradio", reason="no gradio here; make test-browser installs it")

WAIT = 60  # seconds that a busy machine may take for what takes one


class App:
    """demo_app.py as a process, its temporary files in `folder`, and a proxy that hears of every call to elsewhere."""

    def __init__(self, folder: Path, *flags: object) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        self.proxy = socket.create_server(("127.0.0.1", 0))
        self.proxy.setblocking(False)
        elsewhere = f"http://127.0.0.1:{self.proxy.getsockname()[1]}"
        away = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), elsewhere)
        (folder / "temporary").mkdir()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "demo_app.py", *map(str, flags), "--device", "cpu", "--port", "0"],
                cwd=commands.ROOT,
                env={**os.environ, **away, "TMPDIR": str(folder / "temporary"), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 2 * WAIT
        while not (said := re.search(r"open (http://127\.0\.0\.1:\d+) ", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)
        self.url = said[1]

    def heard_elsewhere(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.proxy.accept()[0].close()
            return True
        return False

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(WAIT)
        self.proxy.close()
        return code


@pytest.fixture(scope="module")
def app(trained, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    running = App(
        tmp_path_factory.mktemp("app"),
        *("--predictor_checkpoint", trained.predictor, "--flow_checkpoint", trained.student, trained.flow),
        *("--autoencoder_checkpoint", trained.autoencoder, "--data_dir", data_dir),
    )
    yield running
    running.end(signal.SIGKILL)


class Window(Browser):
    """A browser with the app open: its fields, its button, and what became of pressing it."""

    def __init__(self, app: App, width: int = 1280, dark: bool = False) -> None:
        super().__init__(app.url, width, dark)
        self.wait_for("return document.querySelector('#sign') !== null", WAIT)

    def type(self, **fields: str) -> None:
        for name, text in fields.items():
            field = self.find(f"#{name} :is(input, textarea)")
            field.send_keys("\ue009a\ue000\ue003", text)  # over all that stands there

    def sign(self, **fields: str) -> str:
        """Fill the fields in and press; what is said then: of a clip, or why there is none."""
        self.type(**fields)
        self.run("document.querySelector('#outcome .latency, #outcome .wrong')?.classList.add('old')")
        self.find("#sign").click()
        self.wait_for("return document.querySelector('#outcome :is(.latency, .wrong):not(.old)') !== null", WAIT)
        return self.find("#outcome :is(.latency, .wrong)").text

    def choose(self, model: str) -> None:
        label = next(one for one in self.driver.find_elements("css selector", "#models label") if model in one.text)
        label.click()

    def links(self) -> dict[str, str]:
        """What can be taken away, by its ending."""
        return {link.text: link.get_attribute("href") for link in self.driver.find_elements("css selector", ".take a")}


@pytest.fixture(scope="module")
def opened(app: App) -> Iterator[Window]:
    window = Window(app)
    yield window
    window.driver.quit()


@pytest.fixture
def window(opened: Window) -> Window:
    """The page as it is after opening."""
    opened.driver.refresh()
    opened.wait_for("return document.querySelector('#sign') !== null", WAIT)
    return opened


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=WAIT) as answer:
        return answer.read()


def test_a_text_becomes_a_clip_that_plays(window: Window):
    said = window.sign(text="s e a l", length="31", seed="5")
    assert re.match(r"made in [\d.]+ ms \(text [\d.]+ \+ sampling [\d.]+ \+ decoding [\d.]+\)\n", said)
    assert said.endswith("31 frames at 25 per second, seed 5, 1 step")
    window.driver.switch_to.frame(window.find("#outcome iframe"))
    window.wait_for("return state.clips.length === 1 && state.playing && state.time > 2", WAIT)
    assert window.find("#text").text == "s e a l"
    assert window.run("return state.frames") == 31
    window.driver.switch_to.default_content()


@pytest.mark.parametrize("model", ["Direction 1: predictor", "Direction 2: student", "Direction 2: flow"])
def test_every_format_is_there_to_take_away_and_is_what_the_scripts_write(
    model: str, window: Window, trained, data_dir: Path, tmp_path: Path
):
    kind = model.rpartition(" ")[2]
    window.choose(model)
    if kind != "predictor":
        window.wait_for("return !document.querySelector('#steps :is(input, textarea)').disabled", WAIT)
        window.type(steps="4")
    window.sign(text="Hello world", length="21", seed="5")
    links = window.links()
    assert list(links) == [".pose", ".mp4", ".npy", ".json"]
    for ending, link in links.items():
        (tmp_path / f"taken{ending}").write_bytes(fetch(link))
    assert (tmp_path / "taken.mp4").read_bytes()[4:8] == b"ftyp"
    assert len(read_single_clip(tmp_path / "taken.pose").pose) == 21
    command = "inference" if kind == "predictor" else "inference_flow"
    paths = {**trained.paths, "F": getattr(trained, kind), "D": data_dir, "O": tmp_path / "written.npy"}
    commands.run(command, "--target_length 21 --seed 5 --device cpu", **paths)
    np.testing.assert_array_equal(np.load(tmp_path / "taken.npy"), np.load(tmp_path / "written.npy"))


def test_what_cannot_be_signed_is_one_sentence_in_the_page(app: App, window: Window):
    window.sign(text="s e a")
    for fields, sentence in (
        ({"text": " "}, "an empty text has no signs; write something"),
        ({"text": "<b>s</b> e a " * 60}, "sign it in parts, one sentence each"),
        ({"text": "s e a", "length": "0"}, "length: 0 is not a positive whole number"),
    ):
        assert window.sign(**fields).endswith(sentence)
        assert window.find("#outcome [role=alert]").is_displayed()
        assert not window.links()
    window.choose("student")
    window.wait_for(
        "return document.querySelector('#steps :is(input, textarea)').placeholder === '4 (of 1, 2, 4)'", WAIT
    )
    assert "this student takes 1, 2, 4 steps" in window.sign(steps="3", length="")
    assert "seed 0, 2 steps" in window.sign(steps="2")
    assert "Traceback" not in app.log.read_text()


def test_fields_that_the_models_do_not_know_are_shut(window: Window):
    open_fields = (
        "return ['steps', 'guidance'].map(n => !document.querySelector(`#${n} :is(input, textarea)`).disabled)"
    )
    assert window.run(open_fields) == [False, False]
    for model, expected in (("flow", "[true,true]"), ("student", "[true,false]"), ("predictor", "[false,false]")):
        window.choose(model)
        window.wait_for(f"return JSON.stringify((() => {{{open_fields}}})()) === '{expected}'", WAIT)


def test_the_data_set_s_texts_are_examples_and_enter_signs(window: Window):
    window.driver.find_element("xpath", "//button[normalize-space()='s e a']").click()
    window.wait_for("return document.querySelector('#text :is(input, textarea)').value === 's e a'", WAIT)
    window.find("#text :is(input, textarea)").send_keys("\ue007")
    window.wait_for("return document.querySelector('#outcome .latency') !== null", WAIT)


@pytest.mark.parametrize("width", [390, 820, 1900])
def test_every_window_is_usable(app: App, width: int):
    window = Window(app, width, dark=width == 820)
    try:
        window.sign(text="s e a l")
        assert window.run("return document.documentElement.scrollWidth") <= width
        for selector in ("#text", "#models", "#steps", "#seed", "#sign", "#outcome iframe", ".take a"):
            place = window.find(selector).rect
            assert place["width"] >= 40, selector
            assert place["x"] >= 0, selector
            assert place["x"] + place["width"] <= width, selector
        window.wait_for("return document.querySelector('#outcome').getBoundingClientRect().top < innerHeight / 2", WAIT)
        window.driver.switch_to.frame(window.find("#outcome iframe"))
        assert window.run("return document.documentElement.scrollWidth <= innerWidth")
        assert window.find("#play").is_displayed()
    finally:
        window.driver.quit()


def test_nothing_is_asked_of_another_machine(app: App):
    window = Window(app)
    try:
        window.sign(text="s e a")
        time.sleep(1)
        assert {url for url in window.requested() if not url.startswith(f"{app.url}/")} == set()
        assert [entry for entry in window.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        window.driver.quit()
    assert not app.heard_elsewhere()


def test_it_answers_to_this_machine_s_names_alone(app: App):
    assert b"Text to signing" in fetch(app.url)
    request = urllib.request.Request(app.url, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=WAIT)
    for path in ("/clips/clip9999/clip9999.mp4", "/clips/../demo_app.py", "/clips/%2e%2e/%2e%2e/log.txt"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(app.url + path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_nothing_is_left_when_it_is_closed(number: int, code: int, trained, tmp_path: Path):
    models = ("--flow_checkpoint", trained.student, "--autoencoder_checkpoint", trained.autoencoder)
    app = App(tmp_path, *models)
    window = Window(app)
    try:
        window.sign(text="s e a")
        assert list((tmp_path / "temporary").glob("signing_*/clips/*/page.html"))
        assert app.end(number) == code
    finally:
        window.driver.quit()
    assert not list((tmp_path / "temporary").glob("signing_*"))
    assert "Traceback" not in app.log.read_text()
