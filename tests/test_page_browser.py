"""The page in a real browser: `make test-browser` installs one and runs this; skipped where there is none."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser as AnyBrowser
from test_figure import place, signer
from test_page import HOSTILE, shown

from poses import figure, layout, page

TEXTS = ["guten Morgen", "شكرا جزيلا", HOSTILE, "a text that is long " * 8]
LENGTHS = [12, 30, 60, 9]
DTW = [0.5, 2.0, 1.0, np.nan]
RATIO = [1.0, 1.5, 0.2, 1.1]


def write_page(path: Path) -> Path:
    """Four entries of three clips each; the model's DTW ranks them 1, 2, 0, its motion ratio 2, 1, 3, 0."""
    entries = []
    for n, text in enumerate(TEXTS):
        clips = {
            "reference": shown(LENGTHS[n], n),
            "model": shown(LENGTHS[n] + 5, n + 9),
            "Direction 1": shown(8, n + 20),
        }
        values = {"dtw": {"reference": 0.0, "model": DTW[n]}, "motion_ratio": {"reference": 1.0, "model": RATIO[n]}}
        entries.append(page.Entry(f"clip{n}", text, 25, clips, values))
    measures = [page.Measure("dtw", "lower", "distance"), page.Measure("motion_ratio", "near 1", "motion")]
    page.write_page(path, "a <b>title</b>", entries, np.ones(layout.NMM_DIM), measures, "dtw")
    return path


class Browser(AnyBrowser):
    """A browser with the page open: what it shows, and what only this page has."""

    def __init__(self, path: Path, width: int = 1280, dark: bool = False) -> None:
        super().__init__(path.as_uri(), width, dark)
        self.wait_for("return state.clips.length > 0")

    def choose(self, entry: int) -> None:
        self.find(f'#list [data-entry="{entry}"]').click()
        self.wait_for(f"return state.entry === entries[{entry}] && state.frames === {LENGTHS[entry] + 5}")

    @property
    def frame(self) -> int:
        return int(self.find("#scrub").get_attribute("value"))

    @property
    def listed(self) -> list[int]:
        return [
            int(button.get_attribute("data-entry"))
            for button in self.driver.find_elements("css selector", "#list button")
        ]

    def picture(self, clip: int) -> np.ndarray:
        """What a clip's canvas shows, [H,W,3]."""
        canvas = f"state.clips[{clip}].canvas"
        width, height = self.run(f"return [{canvas}.width, {canvas}.height]")
        context = f"{canvas}.getContext('2d')"
        data = self.run(f"return Array.from({context}.getImageData(0, 0, {width}, {height}).data)")
        return np.array(data, np.uint8).reshape(height, width, 4)[..., :3].astype(int)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def opened(path: Path) -> Iterator[Browser]:
    browser = Browser(path)
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(opened: Browser) -> Browser:
    """The page as it is after opening."""
    opened.driver.refresh()
    opened.wait_for("return state.clips.length > 0")
    return opened


def test_it_opens_without_an_error_and_without_a_network(path: Path):
    browser = Browser(path)
    try:
        assert browser.driver.title == "a <b>title</b>"
        assert browser.find("#title").text == "a <b>title</b>"
        browser.press(" ")
        browser.wait_for("return state.time > 2")
        assert browser.driver.get_log("browser") == []
        assert browser.requested() == {path.as_uri()}
    finally:
        browser.driver.quit()


def test_every_text_is_shown_as_it_is(browser: Browser):
    for entry, text in enumerate(TEXTS):
        browser.choose(entry)
        assert browser.run("return document.getElementById('text').textContent") == text
    assert browser.run("return document.querySelectorAll('#list script').length") == 0
    assert [title.text for title in browser.driver.find_elements("css selector", ".panel h3 span")] == [
        "reference",
        "model",
        "Direction 1",
    ]


def test_it_plays_pauses_and_repeats(browser: Browser):
    browser.choose(0)
    browser.press(" ")
    browser.wait_for("return state.playing && state.time > 3")
    browser.press(" ")
    assert not browser.run("return state.playing")
    assert browser.run("return state.entry === entries[0]")  # the button of the list has the focus, and stays unpressed
    paused = browser.frame
    time.sleep(0.2)
    assert browser.frame == paused
    browser.find("#loop").click()
    browser.find("#play").click()
    browser.wait_for("return !state.playing")
    assert browser.frame == LENGTHS[0] + 4
    browser.find("#loop").click()
    browser.find("#speed").send_keys("2")
    browser.find("#play").click()
    browser.wait_for("return state.playing && state.time > 8")
    browser.wait_for("return state.playing && state.time < 5")


def test_time_follows_the_speed(browser: Browser):
    browser.choose(2)
    frames = {}
    for speed in (0.5, 2):
        browser.run(f"goTo(0); state.speed = {speed}; play(); window.began = performance.now()")
        time.sleep(0.8)
        seconds, at = browser.run("return [(performance.now() - began) / 1000, state.time]")
        browser.run("pause()")
        frames[speed] = at / seconds
    assert frames[0.5] == pytest.approx(12.5, rel=0.35)
    assert frames[2] == pytest.approx(50, rel=0.35)


def test_it_scrubs_and_steps(browser: Browser):
    browser.choose(1)
    for keys, frame in (
        (["\ue014"], 1),  # right
        (["\ue014", "\ue014"], 3),
        (["\ue012"], 2),  # left
        (["\ue010"], 34),  # end
        (["\ue014"], 34),
        (["\ue011"], 0),  # home
    ):
        browser.press(*keys)
        assert browser.frame == frame
    browser.find("#forth").click()
    assert browser.frame == 1
    browser.find("#back").click()
    assert browser.frame == 0
    browser.run("const s = document.getElementById('scrub'); s.value = 20; s.dispatchEvent(new Event('input'))")
    assert browser.run("return state.time") == 20
    assert "20 / 34 · 0.80 s" in browser.find("#now").text
    counters = [counter.text for counter in browser.driver.find_elements("css selector", ".panel h3 small")]
    assert counters == ["20 / 30", "20 / 35", "ended, 8"]

    from selenium.webdriver import ActionChains

    chart = browser.find(".chart")
    width = chart.size["width"]
    ActionChains(browser.driver).move_to_element_with_offset(chart, round(width / 4), 5).click().perform()
    assert browser.frame == pytest.approx(0.75 * 34, abs=1)
    assert float(browser.find(".chart i").value_of_css_property("left")[:-2]) == pytest.approx(0.75 * width, rel=0.05)


def test_the_list_is_sorted_by_any_metric(browser: Browser):
    assert browser.listed == [1, 2, 0, 3]  # DTW: the largest is the worst, what is undefined comes last
    assert browser.run("return entries.indexOf(state.entry)") == 1
    browser.find("#order").click()
    assert browser.listed == [0, 2, 1, 3]
    browser.find("#order").click()
    rows = {row.text: row for row in browser.driver.find_elements("css selector", "#metrics th button")}
    rows["motion_ratio"].click()
    assert browser.listed == [2, 1, 3, 0]
    assert browser.find("tr[aria-current=true] button").text == "motion_ratio"
    rows["frames"].click()
    assert browser.find("#order").text == "largest first"
    assert browser.listed == [2, 1, 0, 3]
    browser.find("#search").send_keys("MORGEN")
    assert browser.listed == [0]


def test_clips_are_chosen_by_mouse_key_and_address(browser: Browser, path: Path):
    browser.press("\ue015")  # down
    browser.wait_for("return state.entry === entries[2]")
    browser.press("\ue013", "\ue013")  # up, beyond the first
    browser.wait_for("return state.entry === entries[1]")
    browser.choose(3)
    assert browser.find('#list [aria-current="true"]').get_attribute("data-entry") == "3"
    assert browser.driver.current_url.endswith("#clip3")
    browser.driver.refresh()
    browser.wait_for("return state.clips.length > 0")
    assert browser.run("return state.entry.id") == "clip3"


def test_light_and_dark(path: Path, browser: Browser):
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(background)
    assert browser.picture(0)[0, 0].tolist() == [255, 255, 255]
    dark_browser = Browser(path, dark=True)
    try:
        dark = dark_browser.run(background)
        assert light != dark
        assert dark_browser.picture(0)[0, 0].max() < 64
        dark_browser.press("t")
        assert dark_browser.run(background) == light
        assert dark_browser.picture(0)[0, 0].tolist() == [255, 255, 255]
        dark_browser.find("#theme").click()
        assert dark_browser.run(background) == dark
    finally:
        dark_browser.driver.quit()


@pytest.mark.parametrize("width", [390, 320, 820, 1900])
def test_no_window_scrolls_sideways(path: Path, width: int):
    browser = Browser(path, width)
    try:
        for entry in range(len(TEXTS)):
            browser.run(f"choose(entries[{entry}])")
            browser.wait_for(f"return state.entry === entries[{entry}] && state.frames === {LENGTHS[entry] + 5}")
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run("return document.querySelector('section').scrollWidth") <= width
        assert browser.find("#play").is_displayed()
    finally:
        browser.driver.quit()


def test_a_panel_as_wide_as_a_new_canvas_shows_the_whole_clip(browser: Browser):
    """A canvas begins with 300 by 150 pixels, and a panel may happen to be 300 wide."""
    browser.choose(0)
    browser.run(
        "const [clip] = state.clips; clip.canvas.style.width = '300px'; clip.canvas.width = 300; "
        "clip.canvas.height = 150; drawClip(clip.canvas, clip, 0)"
    )
    assert browser.picture(0).shape[:2] == (300 + round(300 * browser.run("return drawing.strip")), 300)


@pytest.mark.parametrize("unseen", ["", "face", "face and mouth"])
def test_the_figure_is_that_of_the_pictures(tmp_path: Path, unseen: str):
    """The page's canvas and `figure.draw_frame` show the same figure at the same place, but for smoothed edges."""
    pose = signer(12)
    pose[:, layout.LEFT_HAND] = pose[:, layout.RIGHT_HAND]
    pose[:, layout.LEFT_HAND][:, ::2] = 1.0 - pose[:, layout.RIGHT_HAND][:, ::2]
    pose[:, layout.HEAD_POSE] = [0.1, 0.2, 0.3]
    pose[:, layout.EYE_GAZE] = [0.1, 0.05, 0.1, 0.05]
    if "face" in unseen:
        pose[:, layout.NMM] = 0
    if "mouth" in unseen:
        pose[:, layout.keypoint_dims(np.array(figure.MOUTH))] = 0
    entry = page.Entry("a", "", 25, {"made": page.PageClip(pose.astype(np.float32), np.ones(pose.shape, bool))})
    page.write_page(tmp_path / "p.html", "one", [entry], np.ones(layout.NMM_DIM))
    browser = Browser(tmp_path / "p.html")
    try:
        browser.run("goTo(7)")
        drawn = browser.picture(0)
        expected = figure.draw_frame(pose[7], figure.fit_views([pose])[0], drawn.shape[1], smoothing=4)
        expected = np.asarray(expected.convert("RGB").resize((drawn.shape[1], drawn.shape[0]))).astype(int)
        heads = [(np.abs(picture - figure.SKIN).sum(-1) < 6).sum() for picture in (drawn, expected)]
        assert heads[0] == pytest.approx(heads[1], rel=0.25)
        neck = place(pose, (0.5, 0.33), drawn.shape[1])
        assert np.abs(drawn[neck] - figure.BODY_COLOUR).sum() < 30
        ink = (np.abs(expected - 255).sum(-1) > 60).mean()
        different = (np.abs(drawn - expected).sum(-1) > 150).mean()
        assert ink > 0.02
        assert different < 0.1 * ink
    finally:
        browser.driver.quit()
