"""Pictures hold ink where the pose is, and none where nothing was seen."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from poses import layout, render
from runtime.errors import UserError


def signer(frames: int = 12) -> np.ndarray:
    """A stylised pose [T,214]: shoulders .3 apart, a right hand that rises, no left hand, a plain face."""
    keypoints = np.zeros((frames, 75, 2))
    body = {
        0: (0.5, 0.2),
        3: (0.54, 0.18),
        6: (0.46, 0.18),
        9: (0.52, 0.24),
        10: (0.48, 0.24),
        11: (0.65, 0.4),
        12: (0.35, 0.4),
        13: (0.7, 0.6),
        14: (0.3, 0.6),
        15: (0.7, 0.75),
        23: (0.6, 0.8),
        24: (0.4, 0.8),
    }
    for index, at in body.items():
        keypoints[:, index] = at
    grid = np.stack(np.meshgrid([0.0, 0.02, 0.04], np.linspace(0, -0.08, 7)), axis=-1).reshape(21, 2)
    root = np.stack([np.full(frames, 0.22), np.linspace(0.7, 0.4, frames)], axis=1)
    keypoints[:, layout.RIGHT_HAND_KEYPOINTS] = root[:, None] + grid
    keypoints[:, layout.RIGHT_WRIST] = root
    nmm = np.zeros((frames, 64))
    nmm[:, :17] = [0.27, 0.27, 0.17, 0.17, 0.27, 0.09, 0.09, 0.75, 0.75, 0.18, 0, 0, 0.1, 0.52, 0.09, 0.42, 0.67]
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False) + np.pi
    mouth = np.stack([0.26 * np.cos(angle), -0.1 * np.sin(angle)], axis=1)
    nmm[:, 24:] = mouth.reshape(-1)
    return layout.keypoints_to_frame(keypoints, nmm)


def pixels(pose: np.ndarray, t: int = -1, width: int = 200) -> np.ndarray:
    return np.asarray(render.draw_frame(pose[t], render.fit_views([pose])[0], width)).astype(int)


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - colour).sum(-1) < 60


def place(pose: np.ndarray, point: tuple[float, float], width: int = 200) -> tuple[int, int]:
    """Row and column where an image point falls."""
    view = render.fit_views([pose])[0]
    x, y = (np.array(point) - view.centre + view.half) * width / (2 * view.half)
    return round(y), round(x)


def test_ink_where_the_hand_is():
    pose = signer()
    picture = pixels(pose)
    row, column = place(pose, layout.frame_to_keypoints(pose[-1])[layout.RIGHT_HAND_KEYPOINTS].mean(0))
    hand = coloured(picture[:200], render.HAND_COLOURS["right"])
    assert hand[row - 12 : row + 13, column - 12 : column + 13].sum() > 30
    hand[row - 20 : row + 21, column - 20 : column + 21] = False
    assert not hand.any()  # and nowhere else


def moved(pose: np.ndarray, by: tuple[float, float]) -> np.ndarray:
    """The pose with its right hand elsewhere, in image heights."""
    return pose + np.isin(np.arange(layout.POSE_DIM), np.r_[layout.RIGHT_HAND]) * np.resize(by, layout.POSE_DIM)


@pytest.mark.parametrize(("by", "wider"), [((0, 0), False), ((0, 0.4), True), ((-0.3, 0), True), ((0, -0.4), True)])
def test_the_view_holds_the_hands(by: tuple[float, float], wider: bool):
    pose = moved(signer(), by)
    view = render.fit_views([pose])[0]
    hand = layout.frame_to_keypoints(pose)[:, layout.RIGHT_HAND_KEYPOINTS]
    assert (np.abs(hand - view.centre) < 1.05 * view.half).all()
    assert (view.half > 1.5 * view.shoulder_width) == wider
    assert coloured(pixels(pose)[:200], render.HAND_COLOURS["right"]).any()


@pytest.mark.parametrize(("aspect", "wider"), [(1.0, False), (9 / 16, True)])
def test_the_view_holds_the_head_where_shoulders_are_narrow(aspect: float, wider: bool):
    """As of a wide recording that is drawn as a square: its heads are as high as ever, in narrower shoulders."""
    pose = signer()
    view = render.fit_views([pose], aspect)[0]
    eyes = render.visible_points(pose, aspect)[:, [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]]
    assert (eyes[..., 1] - render.FOREHEAD * view.shoulder_width > view.centre[1] - 1.001 * view.half).all()
    assert (view.half > 1.01 * render.fit_views([pose])[0].half * aspect) == wider


def test_clips_shown_together_have_one_size():
    near, far, absurd = (moved(signer(), (0, y)) for y in (0, 0.4, 1e6))
    sizes = [view.half / view.shoulder_width for view in render.fit_views([near, far])]
    assert sizes[0] == sizes[1] > render.fit_views([near])[0].half / 0.3
    assert render.fit_views([absurd])[0].half <= 0.3 * render.REACH


def test_the_hand_is_enlarged_below_the_figure():
    strip = pixels(signer())[200:]
    assert len(strip) == round(200 * render.STRIP)
    for shade in render.FINGER_COLOURS.values():
        assert coloured(strip, shade).sum() > 20


@pytest.mark.parametrize("nothing", [0.0, np.nan, 0.004])
def test_an_unseen_hand_is_not_drawn(nothing: float):
    pose = signer()
    pose[:, layout.RIGHT_HAND] = nothing
    picture = pixels(pose)
    assert not coloured(picture, render.HAND_COLOURS["right"]).any()
    assert not coloured(picture, render.HAND_COLOURS["left"]).any()
    assert render.fit_views([pose])[0].hands == {}


def test_keypoints_at_zero_are_not_drawn():
    pose = signer()
    elbow = layout.keypoint_dims(np.array([layout.LEFT_ELBOW]))
    row, column = place(pose, (0.7, 0.6))
    assert coloured(pixels(pose)[row - 3 : row + 4, column - 3 : column + 4], render.BODY_COLOUR).any()
    pose[:, elbow] = 0
    assert not coloured(pixels(pose)[row - 3 : row + 4, column - 3 : column + 4], render.BODY_COLOUR).any()


@pytest.mark.parametrize(("gap", "drawn"), [(0.3, True), (0.5, False)])
def test_a_short_gap_between_arm_and_hand_is_bridged(gap: float, drawn: bool):
    """In shoulder widths of 0.3 each; a long gap is a fault that a picture shows."""
    pose = signer()
    wrist = layout.frame_to_keypoints(pose[-1])[layout.RIGHT_WRIST] + [0.0, 0.3 * gap]
    pose[:, layout.keypoint_dims(np.array([layout.RIGHT_WRIST]))] = wrist
    row, column = place(pose, wrist - [0.0, 0.15 * gap])
    assert coloured(pixels(pose)[row - 2 : row + 3, column - 2 : column + 3], render.BODY_COLOUR).any() == drawn


def test_the_mouth_follows_its_features():
    plain, wide = signer(), signer()
    wide[:, layout.MOUTH_SHAPE] *= 1.5
    extents = []
    for pose in (plain, wide):
        pose[:, layout.RIGHT_HAND] = 0  # its colour is like that of the lips
        columns = np.flatnonzero(coloured(pixels(pose, width=800)[:800], render.LIPS).any(0))
        extents.append(np.ptp(columns))
    assert extents[1] / extents[0] == pytest.approx(1.5, abs=0.2)  # the outline around the lips stays as it is


def test_far_outside_and_empty_poses_are_drawn_without_error():
    pose = signer()
    pose[:, layout.keypoint_dims(np.array([layout.LEFT_WRIST]))] = 1e6
    assert pixels(pose).shape == (324, 200, 3)
    assert pixels(np.zeros((3, 214))).min() == 255
    assert pixels(np.full((3, 214), np.nan)).min() == 255


def test_contact_sheet_has_a_row_a_clip(tmp_path: Path):
    path = tmp_path / "new" / "sheet.png"
    captions = [["a"] * 12, None]
    render.contact_sheet([("real", signer()), ("generated, longer", signer(20))], path, num_frames=4, captions=captions)
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for half in np.array_split(sheet, 2):
        assert coloured(half, render.HAND_COLOURS["right"]).any()
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
    assert coloured(moved[0], render.HAND_COLOURS["right"]).any()
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
    for colour in [*render.FINGER_COLOURS.values(), render.HAND_COLOURS["right"]]:
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


def test_data_without_a_face_mesh_have_a_head():
    """Two eyes are enough for it; without them there is none."""
    pose = signer()
    pose[:, layout.NMM] = 0
    pose[:, layout.HEAD_POSE] = 0.1  # all that some data measure of a face

    def skin(unseen: list[int]) -> int:
        points = layout.frame_to_keypoints(pose)
        points[:, unseen] = 0
        shown = np.concatenate([points.reshape(len(pose), -1), pose[:, layout.NMM]], axis=1)
        return int((pixels(shown) == render.SKIN).all(-1).sum())

    mouth, eyes = [layout.LEFT_MOUTH, layout.RIGHT_MOUTH], [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]
    assert skin([]) > 300
    assert skin(mouth) == pytest.approx(skin([]), rel=0.05)
    assert skin(eyes) == 0
