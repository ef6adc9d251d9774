"""The real detector on real pixels: a photograph that matplotlib carries, moved about in videos. `make test-video`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import read_keypoints, read_nmm

from poses import layout

cv2 = pytest.importorskip("cv2", reason="needs .venv-video: make test-video")
pytest.importorskip("mediapipe", reason="needs .venv-video: make test-video")
matplotlib = pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[1]
FRAMES, FPS = 6, 20


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return cv2.imread(str(path))


def scene(photograph: np.ndarray, *places: tuple[int, int, int]) -> np.ndarray:
    """A grey picture of 960 x 500 with the person at each (left, top, height)."""
    picture = np.full((500, 960, 3), 127, np.uint8)
    for left, top, height in places:
        person = cv2.resize(photograph, (height * 84 // 100, height))
        picture[top : top + height, left : left + person.shape[1]] = person[: 500 - top]
    return picture


def write_video(path: Path, pictures: list[np.ndarray]) -> None:
    size = (pictures[0].shape[1], pictures[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, size)
    for picture in pictures:
        writer.write(picture)
    writer.release()


def extract(videos: Path, output: Path, *flags: str) -> str:
    command = [sys.executable, "extract_features.py", "--videos", str(videos), "--output_dir", str(output), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "inference_feedback_manager" not in done.stderr
    return done.stdout


def nose(folder: Path, clip: str) -> np.ndarray:
    keypoints, seen = read_keypoints(folder / "train" / "poses" / f"{clip}.npz")
    assert seen[:, layout.NOSE].all()
    return keypoints[:, layout.NOSE]


@pytest.fixture(scope="module")
def videos(photograph: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "moving.mp4", [scene(photograph, (100 + 20 * n, 0, 500)) for n in range(FRAMES)])
    write_video(folder / "two.mp4", [scene(photograph, (40, 0, 500), (560, 100, 400))] * FRAMES)
    (folder / "pictures").mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / "pictures" / f"images{number:04d}.png"), scene(photograph, (100, 0, 500)))
    return folder


@pytest.fixture(scope="module")
def data(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    extract(videos, folder, "--split", "train", "--source_fps", str(FPS))
    return folder


def test_a_person_is_found_where_it_is(data: Path):
    where = nose(data, "moving")
    # The photograph's nose lies at (.53, .38) of it; it is 420 pixels wide and 500 high.
    expected = np.stack([(100 + 20 * np.arange(FRAMES) + 0.53 * 420) / 960, np.full(FRAMES, 0.38)], axis=1)
    np.testing.assert_allclose(where, expected, atol=0.03)
    assert np.load(data / "train/poses/moving.npz")["fps"] == FPS


def test_the_face_has_a_plausible_shape(data: Path):
    nmm = read_nmm(data / "train/nmms/moving.pkl")
    assert np.isfinite(nmm).all()
    assert ((nmm[:, 13] > 0.3) & (nmm[:, 13] < 0.9)).all()  # the mouth's width, in distances of the eyes' corners
    assert (np.abs(nmm[:, 17:20]) < 0.6).all()  # she looks into the camera
    np.testing.assert_allclose(nmm, nmm.mean(0, keepdims=True).repeat(FRAMES, 0), atol=0.15)  # wherever she is


def test_a_folder_of_pictures_says_what_a_video_says(data: Path):
    np.testing.assert_allclose(nose(data, "pictures")[0], nose(data, "moving")[0], atol=0.01)


@pytest.mark.parametrize(("person", "x"), [("left", 40 + 0.53 * 420), ("right", 560 + 0.53 * 336)])
def test_the_person_that_was_asked_for_is_followed(person: str, x: float, videos: Path, tmp_path: Path):
    only = tmp_path / "videos"
    only.mkdir()
    (only / "two.mp4").symlink_to(videos / "two.mp4")
    said = extract(only, tmp_path / "data", "--split", "train", "--person", person)
    assert f"2 people; the {person} one was followed" in said
    np.testing.assert_allclose(nose(tmp_path / "data", "two")[:, 0], x / 960, atol=0.03)


def test_workers_change_nothing(videos: Path, data: Path, tmp_path: Path):
    extract(videos, tmp_path / "data", "--split", "train", "--source_fps", str(FPS), "--num_workers", "2")
    for path in data.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "data" / path.relative_to(data)).read_bytes()
