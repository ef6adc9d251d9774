"""Sheets, videos and GIFs hold every frame, and a file that cannot be written whole is not written."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from test_figure import coloured, signer

from poses import figure, layout, render
from runtime.errors import UserError


def test_contact_sheet_has_a_row_a_clip(tmp_path: Path):
    path = tmp_path / "new" / "sheet.png"
    captions = [["a"] * 12, None]
    render.contact_sheet([("real", signer()), ("generated, longer", signer(20))], path, num_frames=4, captions=captions)
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for half in np.array_split(sheet, 2):
        assert coloured(half, figure.HAND_COLOURS["right"]).any()
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize("width", [112, 160])
def test_a_long_text_ends_within_its_row(width: int):
    """Below it, 'N frames' and the next row are as those of a short text."""
    texts = ["going " * 60, "going"]
    long, short = (np.asarray(render.draw_sheet([(text, signer(2))] * 2, 1, width=width)) for text in texts)
    height = len(long) // 2
    assert np.array_equal(long[height - 26 : height, :150], short[height - 26 : height, :150])
    assert np.array_equal(long[height : height + 14, :150], short[height : height + 14, :150])
    assert not np.array_equal(long[height - 46 : height - 26, :150], short[height - 46 : height - 26, :150])
    cut = render._wrapped("one two three", 60, 15, 1)
    assert cut == "one…"
    assert render._font(15, bold=True).getlength(cut) <= 60
    assert render._wrapped("one two", 100, 15, 1) == "one two"


@pytest.mark.parametrize("text", ["two\nlines", "tab\tbell\x07null\0", "\x1b[2J", "latin-1 \udcfc", "\n", ""])
def test_labels_and_captions_may_hold_what_no_font_draws(text: str, tmp_path: Path):
    rows, captions = [(text, signer(2)), (text, signer(2))], [[text] * 2, [text] * 2]
    render.contact_sheet(rows, tmp_path / "sheet.png", num_frames=2, captions=captions)
    render.gif(rows, tmp_path / "clips.gif", 25, captions)
    assert len(list(tmp_path.iterdir())) == 2


def test_video_is_as_long_as_its_longest_clip(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    render.video([("a", signer(7)), ("b", signer(12))], path, fps=25, captions=[["h"] * 7, None], width=121)
    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    width, height = meta["size"]
    assert (width % 2, height % 2) == (0, 0)
    assert meta["fps"] == 25
    decoded = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames]
    assert len(decoded) == 12
    assert (decoded[0] < 128).any()
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(("fps", "frames", "milliseconds"), [(25, 12, 480), (30, 12, 400), (100, 6, 120)])
def test_a_gif_lasts_as_long_as_its_clip(tmp_path: Path, fps: float, frames: int, milliseconds: int):
    path = tmp_path / "new" / "clip.gif"
    render.gif([("a", signer(7)), ("b", signer(12))], path, fps, [["h"] * 7, None], width=90)
    with Image.open(path) as picture:
        assert picture.n_frames == frames
        assert picture.info["loop"] == 0
        lasted, moved = 0, []
        for frame in range(frames):
            picture.seek(frame)
            lasted += picture.info["duration"]
            moved.append(np.asarray(picture.convert("RGB")).astype(int))
    assert lasted == milliseconds
    assert coloured(moved[0], figure.HAND_COLOURS["right"]).any()
    assert np.abs(moved[0] - moved[-1]).max() > 100
    assert [file.name for file in path.parent.iterdir()] == ["clip.gif"]


@pytest.mark.parametrize("fps", [0.01, 1e-300])
def test_a_gif_that_lasts_too_long_is_refused(tmp_path: Path, fps: float):
    """A picture that stands still counts as one, whose time has 16 bits."""
    with pytest.raises(UserError, match="frames per second, and a GIF at most 655; raise --fps"):
        render.gif([("a", np.repeat(signer(1), 8, axis=0))], tmp_path / "clip.gif", fps)
    render.gif([("a", np.repeat(signer(1), 8, axis=0))], tmp_path / "clip.gif", 8 / 655, width=60)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_gif_has_the_colours_of_a_hand_that_comes_later(tmp_path: Path):
    pose = signer(4)
    pose[0, layout.RIGHT_HAND] = 0
    render.gif([("a", pose)], tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as picture:
        picture.seek(3)
        shown = np.asarray(picture.convert("RGB")).astype(int)
    for colour in [*figure.FINGER_COLOURS.values(), figure.HAND_COLOURS["right"]]:
        assert (np.abs(shown - colour).sum(-1) < 15).sum() > 20


def test_a_video_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stops(*_: object, **__: object):
        yield
        yield
        raise OSError("FFMPEG COMMAND: a page")

    clip = np.full((5, layout.POSE_DIM), 0.5, np.float32)
    monkeypatch.setattr(render.imageio_ffmpeg, "write_frames", stops)
    with pytest.raises(UserError, match=r"clip\.mp4: not written \(ffmpeg stopped\); check the free space"):
        render.video([("a", clip)], tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_video_that_is_cut_off_does_not_replace_a_whole_one(tmp_path: Path, monkeypatch, share: float):
    """As ffmpeg leaves it that ends early, such as on a full disk; its writer says nothing of that."""
    path = tmp_path / "clip.mp4"
    render.video([("a", signer())], path, width=120)
    whole = path.read_bytes()

    def cut_off(temporary: str, *_: object, **__: object):
        Path(temporary).write_bytes(whole[: int(share * len(whole))])
        while True:
            yield

    monkeypatch.setattr(render.imageio_ffmpeg, "write_frames", cut_off)
    with pytest.raises(UserError, match=r"clip\.mp4: not written \(ffmpeg wrote \d of 12 frames\); check"):
        render.video([("a", signer())], path, width=120)
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(("write", "name", "most"), [(render.video, "c.mp4", 45), (render.gif, "c.gif", 273)])
def test_more_clips_than_a_file_is_wide_are_refused(tmp_path: Path, write, name: str, most: int):
    with pytest.raises(UserError, match=f"{most + 1} clips side by side .* at most {most} clips"):
        write([("a", signer(1))] * (most + 1), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_video_that_fails_half_way_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    frames = iter(render._side_by_side([("a", signer(7))], None, 1.0, 120))

    def breaking(*arguments: object):
        yield from [next(frames), next(frames)]
        raise ValueError("no more")

    monkeypatch.setattr(render, "_side_by_side", breaking)
    with pytest.raises(ValueError, match="no more"):
        render.video([("a", signer(7))], tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_letters_that_the_font_lacks():
    assert render.without_glyph(["你好", "你 a", "नम"]) == "你好नम"
    assert render.without_glyph(["Grüße, đẹp İ…", "Привет", "مرحبا", "שלום", "a\u200cb", "\udce9\n"]) == ""
