"""Videos whose pictures are not as they are stored: of pixels that are not square, or turned without a word of it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import signer

from importers.detector import Landmarks
from importers.video import FrameStream, extract, open_video
from poses import layout
from runtime.errors import UserError

POINTS, _ = signer(8)
PROPERTIES = ("FPS", "FRAME_COUNT", "POS_MSEC", "ORIENTATION_META", "SAR_NUM", "SAR_DEN", "ORIENTATION_AUTO")


class FakeVideo:
    """What OpenCV says of a video of one picture, 72 pixels wide and 54 high where it is not turned."""

    def __init__(self, **says: float) -> None:
        self.says, self.picture = {"FPS": 25.0, "FRAME_COUNT": 1.0, "POS_MSEC": 0.0} | says, np.zeros((54, 72, 3))
        if says.get("ORIENTATION_META") in (90.0, 270.0):
            self.picture = self.picture.transpose(1, 0, 2)
        self.left = 1

    def isOpened(self) -> bool:
        return True

    def set(self, *_: object) -> None: ...

    def release(self) -> None: ...

    def get(self, name: str) -> float:
        return self.says.get(name, 0.0)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, self.picture


@pytest.mark.parametrize(
    ("says", "size"),
    [
        ({}, (72, 54)),
        ({"SAR_NUM": 0.0, "SAR_DEN": 1.0}, (72, 54)),
        ({"SAR_NUM": 4.0, "SAR_DEN": 3.0}, (96, 54)),  # HDV, which sign language corpora were recorded in
        ({"SAR_NUM": 10.0, "SAR_DEN": 11.0}, (65, 54)),
        ({"SAR_NUM": 1216.0, "SAR_DEN": 1215.0}, (72, 54)),  # what rounding of a size leaves
        ({"SAR_NUM": 65535.0, "SAR_DEN": 1.0}, (72, 54)),
        ({"SAR_NUM": 4.0, "SAR_DEN": 3.0, "ORIENTATION_META": 90.0}, (54, 96)),  # as stored, before it is turned
        ({"SAR_NUM": 4.0, "SAR_DEN": 3.0, "ORIENTATION_META": 180.0}, (96, 54)),
    ],
)
def test_pictures_are_shown_at_the_shape_of_their_pixels(says, size, monkeypatch, tmp_path):
    fake = {f"CAP_PROP_{name}": name for name in PROPERTIES} | {"CAP_FFMPEG": 0, "setNumThreads": lambda _: None}
    fake["resize"] = lambda picture, to: np.zeros((to[1], to[0], 3))
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=lambda *_: FakeVideo(**says), **fake))
    opened = open_video(tmp_path / "clip.mp4")
    ((_, picture),) = opened.frames
    assert picture().shape[1::-1] == size
    assert [*opened.notes] == [note for note in opened.notes if "as wide as high" in note]
    assert bool(opened.notes) == (sorted(size) != [54, 72])


class Everywhere:
    """A detector that finds the same made-up signer, changed by `change`, whatever the picture shows."""

    def __init__(self, change) -> None:
        self.points = change(POINTS[0])

    def reset(self) -> None: ...

    def faces(self, picture: np.ndarray) -> np.ndarray:
        return np.array([[90.0, 20, 10, 12]])

    def landmarks(self, picture: np.ndarray) -> Landmarks:
        return Landmarks(self.points, np.ones(layout.NUM_KEYPOINTS), None)


def video_of(change, sizes=((100, 200),) * 6):
    frames = [(number / 25, lambda size=size: np.zeros((*size, 3), np.uint8)) for number, size in enumerate(sizes)]
    return extract(lambda: FrameStream(iter(frames), 25.0), Everywhere(change), "largest")


def test_a_signer_who_stands_upside_down_is_left_out():
    with pytest.raises(UserError, match="the picture is upside down"):
        video_of(lambda points: 1 - points)


def test_a_picture_that_lies_on_its_side_is_told():
    assert video_of(lambda points: points).notes == ()
    (note,) = video_of(lambda points: points[:, ::-1]).notes
    assert "the picture turned?" in note


def test_pictures_of_several_shapes_are_no_clip():
    half = ((100, 200), (50, 100), (101, 200))  # as browsers record where the line is slow
    assert len(video_of(lambda points: points, half)) == 3
    with pytest.raises(UserError, match="of several shapes, 200 x 100 and 100 x 200 \\(frame 2\\)"):
        video_of(lambda points: points, (*half[:2], (200, 100)))
