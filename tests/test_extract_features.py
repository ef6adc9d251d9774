"""Videos become clips. A made-up detector stands for MediaPipe, which finds what a made-up frame says is in it; the
real one is tested by test_extract_real_videos.py."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import commands
import numpy as np
import pytest
from recordings import read_keypoints, read_nmm, signer

import extract_features
from importers import detector, video
from importers.detector import Landmarks
from importers.people import WHOM, Person, choose, find_people, hand_movement, window
from importers.plan import Source
from importers.recording import Recording, at_even_rate
from importers.video import FrameStream, extract, find_sources, open_folder
from poses import layout
from poses.face import NUM_FACE_WITH_IRIS, nmm_from_face_mesh
from poses.files import read_clip
from runtime import errors
from runtime.errors import UserError

WIDTH, HEIGHT = 200, 100
POINTS, MESH = signer(20)
FACE = np.concatenate([MESH, MESH[:, : NUM_FACE_WITH_IRIS - MESH.shape[1]]], axis=1)


class FakeDetector:
    """Reads a made-up picture: columns 0.. hold the frame's number, 255 where nobody is; people stand at PLACES."""

    def reset(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def faces(self, picture: np.ndarray) -> np.ndarray:
        places = np.unique(np.nonzero(picture[1, :, 0])[0])
        return np.array([[place - 5, 20, 10, 12 + place / 100] for place in places], dtype=float).reshape(-1, 4)

    def landmarks(self, picture: np.ndarray) -> Landmarks:
        self.shapes.append(picture.shape[:2])
        number = int(picture[0, 0, 0])
        if number == 255:
            return Landmarks(np.zeros((75, 2)), np.zeros(75), None)
        visibility = np.ones(75)
        if number % 2:
            visibility[layout.LEFT_HAND_KEYPOINTS] = 0
        return Landmarks(POINTS[number], visibility, None if number == 3 else FACE[number])


def picture(number: int, people: tuple[int, ...] = (100,)) -> np.ndarray:
    made = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    made[0, :] = number
    made[1, list(people)] = 1
    return made


def made_up(
    numbers: list[int], fps: float | None = 25.0, stamps: object = None, count: int | None = None, people=(100,)
):
    """A recording that can be opened again and again."""
    stamps = [number / 25 for number in range(len(numbers))] if stamps is None else stamps

    def opened() -> FrameStream:
        frames = ((at, lambda n=n: picture(n, people)) for at, n in zip(stamps, numbers, strict=True))
        return FrameStream(frames, fps, count)

    return opened


def fake() -> FakeDetector:
    detector = FakeDetector()
    detector.reset()
    return detector


# ---- one recording ---------------------------------------------------------------------------------------------------


def test_what_was_found_and_what_was_not():
    recording = extract(made_up([0, 1, 2, 3, 255]), fake(), "largest")
    np.testing.assert_allclose(recording.keypoints[0], POINTS[0], atol=1e-6)
    assert recording.fps == 25
    assert (recording.seen[:, layout.LEFT_HAND_KEYPOINTS].all(1) == [True, False, True, False, False]).all()
    assert (recording.keypoints[4] == 0).all()
    assert (np.isfinite(recording.nmm).all(1) == [True, True, True, False, False]).all()
    expected = nmm_from_face_mesh(FACE[:1] * [WIDTH, HEIGHT, WIDTH])  # in pixels: the picture is not square
    np.testing.assert_allclose(recording.nmm[0], expected[0], rtol=1e-5, atol=1e-5)
    assert recording.counts() == {"body": 4, "face": 3, "left hand": 2, "right hand": 4}


def test_nobody():
    with pytest.raises(UserError, match="no person is seen in any of its 2 frames"):
        extract(made_up([255, 255], people=()), fake(), "largest")


@pytest.mark.parametrize(
    ("fps", "stamps", "expected", "note"),
    [
        (25.0, [0, 0.04, 0.08, 0.12, 0.16], 25.0, None),
        (53.07, [0, 1 / 60, 2 / 60, 3 / 60, 4 / 60], 60.0, "its header says 53.07"),
        (None, [0, 0.1, 0.2, 0.3, 0.4], 10.0, "its header says nothing"),
        (30.0, [0, 0, 0, 0, 0], 30.0, None),  # no stamps
        (30.0, [0, 0.04, 0.04, 0.12, 0.16], 30.0, "repeat or go backwards, so its header's 30 frames per second count"),
        (29.97, [0, 0.033, 0.067, 0.1, 0.133], 29.97, None),  # stamps of whole milliseconds
    ],
)
def test_the_rate_is_the_stamps(fps, stamps, expected, note):
    recording = extract(made_up([0, 1, 2, 3, 4], fps, stamps), fake(), "largest")
    assert recording.fps == pytest.approx(expected, rel=1e-3)
    assert len(recording) == 5
    assert bool(recording.notes) == (note is not None)
    assert note is None or note in recording.notes[0]


def test_uneven_stamps_are_brought_to_an_even_rate():
    stamps = [0.0, 0.04, 0.08, 0.20, 0.24]  # the frames at .12 and .16 were dropped
    recording = extract(made_up([0, 2, 4, 10, 12], 25.0, stamps), fake(), "largest")
    assert len(recording) == 7
    assert recording.fps == pytest.approx(25)
    np.testing.assert_allclose(recording.keypoints[5], POINTS[10], atol=1e-5)
    between = POINTS[4] + (POINTS[10] - POINTS[4]) / 3
    np.testing.assert_allclose(recording.keypoints[3], between, atol=1e-5)
    assert "uneven time stamps" in recording.notes[0]


def test_no_rate_at_all():
    with pytest.raises(UserError, match="neither its header nor its time stamps"):
        extract(made_up([0, 1], None, [0, 0]), fake(), "largest")


def test_a_recording_that_ends_early_is_named():
    recording = extract(made_up([0, 1, 2], count=58), fake(), "largest")
    assert recording.notes == ("ends early, 3 frames of the 58 that its header promises",)
    assert extract(made_up([0, 1, 2], count=3), fake(), "largest").notes == ()


# ---- several people --------------------------------------------------------------------------------------------------


def test_one_of_two_people_is_followed_and_said():
    detector = fake()
    recording = extract(made_up([0, 2, 4], people=(50, 150)), detector, "left")
    assert recording.notes == ("2 people; the left one was followed (--person)",)
    (height, width), *_ = detector.shapes
    assert (height, width) == (HEIGHT, 150 - 14)  # up to the other's face, which is 13.5 high
    np.testing.assert_allclose(recording.keypoints[0], POINTS[0] * [136 / WIDTH, 1], atol=1e-6)


def faces(*middles: float, size: float = 10) -> np.ndarray:
    return np.array([[middle - size / 2, 20, size, size] for middle in middles], dtype=float).reshape(-1, 4)


def test_people_are_those_who_stay():
    looks = [faces(20, 80), faces(80, 24), faces(28), faces(), faces(30, 80, 150)]
    people = find_people(looks)  # in any order, missed once, and a passer-by at 150
    assert [person.middle[0] for person in people] == pytest.approx([26, 80])
    assert find_people([faces(), faces()]) == []


def test_whom_to_follow():
    people = [Person(np.array([20.0, 30.0]), 10), Person(np.array([80.0, 30.0]), 12)]
    chosen = [choose(people, which, lambda person: -person.size) for which in WHOM]
    assert chosen == [people[0], people[0], people[1], people[1]]


def test_of_people_whose_hands_move_alike_the_largest_is_followed():
    people = [Person(np.array([20.0, 30.0]), 10), Person(np.array([80.0, 30.0]), 12)]
    assert choose(people, "signing", lambda person: 0.0) == people[1]


def test_hands_that_move_are_measured_from_the_body_and_by_its_size():
    points, visible = np.zeros((3, 75, 2)), np.ones((3, 75), bool)
    points[:, layout.LEFT_SHOULDER], points[:, layout.RIGHT_SHOULDER] = [2, 0], [-2, 0]
    points[:, layout.RIGHT_WRIST] = [[0, 0], [0, 2], [2, 2]]
    assert hand_movement(points, visible) == pytest.approx(0.5)
    assert hand_movement(points * 10, visible) == pytest.approx(0.5)
    walked = points + np.array([[0, 0], [5, 0], [10, 0]])[:, None]
    assert hand_movement(walked, visible) == pytest.approx(0.5)  # walking is not signing
    from_the_side = points.copy()
    from_the_side[:, layout.SHOULDERS] *= 0.01
    from_the_side[:, layout.NOSE] = [0, -4]
    assert hand_movement(from_the_side, visible) == pytest.approx(0.5)
    visible[2, layout.RIGHT_WRIST] = False  # a guess
    assert hand_movement(points, visible) == pytest.approx(0.25)
    visible[:, layout.LEFT_SHOULDER] = False
    assert hand_movement(points, visible) == 0  # nobody is measured by shoulders that are not there


@pytest.mark.parametrize("signs", ["left", "right"])
def test_by_default_whoever_signs_is_followed(signs: str):
    """Of two people one keeps still; each is looked at in the part of the picture that is theirs."""

    class OneSigns(FakeDetector):
        def landmarks(self, picture: np.ndarray) -> Landmarks:
            found = super().landmarks(picture)
            looked_at = "left" if picture[1, 50, 0] else "right"
            return found if looked_at == signs else dataclasses.replace(found, points=POINTS[0])

    detector = OneSigns()
    detector.reset()
    numbers = list(range(0, 20, 2))
    opened = made_up(numbers, fps=4.0, stamps=[number / 8 for number in numbers], people=(50, 150))
    recording = extract(opened, detector, "signing")
    assert recording.notes == ("2 people; the one whose hands move most was followed (--person)",)
    asked = extract(opened, detector, signs)
    np.testing.assert_array_equal(recording.keypoints, asked.keypoints)


def test_the_window_leaves_the_other_face_out():
    people = [Person(np.array([20.0, 30.0]), 10), Person(np.array([80.0, 30.0]), 12)]
    assert window(people[0], people, 100, 60) == (0, 0, 68, 60)
    assert window(people[1], people, 100, 60) == (30, 0, 100, 60)
    close = [people[0], Person(np.array([24.0, 50.0]), 12)]  # one above the other: half-way
    assert window(close[0], close, 100, 60) == (0, 0, 100, 40)
    assert window(close[1], close, 100, 60) == (0, 40, 100, 60)


# ---- folders and runs ------------------------------------------------------------------------------------------------


def test_which_files_are_recordings(tmp_path: Path):
    for name in ("b.MP4", "a/clip.gif", "x/images0001.png", "x/images0002.png", "notes.txt", "._b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources, others = find_sources(tmp_path)
    assert [(source.name, source.kind) for source in sources] == [
        ("a/clip.gif", "video"),
        ("b.MP4", "video"),
        ("x", "frames"),
    ]
    assert others == {".txt": 1}


def test_a_picture_that_is_called_like_a_video_is_its_cover(tmp_path: Path):
    for name in ("a.jpg", "a.mp4", "b.mp4", "b.mp4.webp", "x/0001.png", "x/masks/0001.png", "x/mask_0001.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources, others = find_sources(tmp_path)
    assert [source.name for source in sources] == ["a.mp4", "b.mp4", "x", "x/masks"]
    assert others == {".jpg": 1, ".webp": 1}


@dataclasses.dataclass
class Videos:
    """Made-up videos: files that hold the frames' numbers as JSON, opened by `open_made_up`."""

    folder: Path

    def add(self, name: str, numbers: list[int], fps: float = 25.0, people: tuple[int, ...] = (100,)) -> None:
        self.folder.mkdir(exist_ok=True)
        content = {"numbers": numbers, "fps": fps, "people": people}
        (self.folder / name).write_text(json.dumps(content))


def open_made_up(source: Source, source_fps: float | None) -> FrameStream:
    try:
        content = json.loads(source.path.read_text())
    except ValueError:
        raise UserError("not a video that OpenCV can open") from None
    stamps = [number / content["fps"] for number in range(len(content["numbers"]))]
    return made_up(content["numbers"], content["fps"], stamps, people=tuple(content["people"]))()


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Videos:
    monkeypatch.setattr(video, "open_frames", open_made_up)
    monkeypatch.setattr(video, "make_detector", FakeDetector)
    monkeypatch.setattr(video, "_detector", None)
    monkeypatch.setattr(extract_features, "header_rate", lambda source, fps: open_made_up(source, fps).fps)
    monkeypatch.setattr(extract_features, "require_packages", lambda: None)
    monkeypatch.setattr(extract_features, "silence_native_logs", lambda: None)
    return Videos(tmp_path / "videos")


@pytest.fixture
def extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, videos: Videos):
    def run(flags: str = "", output: str = "out") -> Path:
        command = f"extract_features.py --videos {videos.folder} --output_dir {tmp_path / output} {flags}"
        monkeypatch.setattr(sys, "argv", command.split())
        errors.run(extract_features.main)
        return tmp_path / output

    return run


@pytest.fixture
def refused(extracted, capsys: pytest.CaptureFixture):
    return lambda flags="": commands.one_sentence(capsys, lambda: extracted(flags))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_with_texts_and_splits(videos: Videos, extracted, tmp_path: Path):
    for number in range(4):
        videos.add(f"clip{number}.mp4", [0, 1, 2, 3, 4])
    (tmp_path / "train.txt").write_text("clip0|one\nclip1.mp4|two\n")
    (tmp_path / "dev.txt").write_text("clip2|three\n")
    folder = extracted(f"--texts train={tmp_path / 'train.txt'} dev={tmp_path / 'dev.txt'}")
    assert (folder / "train.txt").read_text() == "clip0|one\nclip1|two\n"
    assert (folder / "dev.txt").read_text() == "clip2|three\n"
    keypoints, seen = read_keypoints(folder / "dev/poses/clip2.npz")
    np.testing.assert_allclose(keypoints[seen], POINTS[:5][seen], atol=1e-6)
    assert np.load(folder / "dev/poses/clip2.npz")["fps"] == 25
    assert np.isnan(read_nmm(folder / "dev/nmms/clip2.pkl")[3]).all()
    assert len(read_clip(folder, "train", "clip0").pose) == 5
    assert not (folder / "test").exists()
    report = (folder / "report.txt").read_text()
    assert "train: 2 clips, 10 frames (5-5 per clip), 0.4 seconds" in report
    assert "seen, of all frames: body 100%, face 80%, left hand 60%, right hand 100%" in report


def test_workers_shards_and_stopped_runs_change_nothing(videos: Videos, extracted):
    for number in range(7):
        videos.add(f"clip{number}.mp4", [number, 1, 2, 3, 4])
    whole = contents(extracted("", "whole"))
    assert whole == contents(extracted("--num_workers 2", "parallel"))
    for shard in ("2/3", "1/3", "3/3", "1/1"):
        folder = extracted(f"--shard {shard}", "shards")
    reports = {path for path in contents(folder) if path.name.startswith("report.")}
    assert len(reports) == 4
    assert whole == {path: content for path, content in contents(folder).items() if "_of_" not in path.name}
    (folder / "train/records/clip1.json").unlink(missing_ok=True)
    assert whole.items() <= contents(extracted("", "shards")).items()


def test_clips_of_the_other_shards_are_none_of_earlier_calls(videos: Videos, extracted, tmp_path: Path):
    """Of two clips without a text, one is of an earlier call, and one is of another shard."""
    videos.add("early.mp4", [0, 1])
    extracted("--split train")
    (videos.folder / "early.mp4").unlink()
    for name in "abc":
        videos.add(f"{name}.mp4", [0, 1])
    (tmp_path / "texts.txt").write_text("a|hello\nb|\nc|hello\n")
    for shard in ("2/3", "3/3", "1/3"):
        folder = extracted(f"--split train --texts {tmp_path / 'texts.txt'} --shard {shard}")
    told = "1 clips of earlier calls, of which this report says nothing; 1 of them have no text\n"
    assert (folder / "report.1_of_3.txt").read_text().endswith(told)


def test_a_killed_run_goes_on_to_the_same_files(videos: Videos, extracted, tmp_path: Path):
    """A slow run in a process of its own is killed in the middle, and the same command then does the rest."""
    for number in range(8):
        videos.add(f"clip{number}.mp4", [number] * 5)
    whole = contents(extracted("", "whole"))
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = ["tests", "."]
        import extract_features, test_extract_features as fakes
        from importers import video
        open_fast = fakes.open_made_up
        def open_slowly(*given):
            time.sleep(0.1)
            return open_fast(*given)
        video.open_frames, video.make_detector = open_slowly, fakes.FakeDetector
        extract_features.header_rate = lambda source, fps: open_fast(source, fps).fps
        extract_features.require_packages = extract_features.silence_native_logs = lambda: None
        sys.argv = ["", "--videos", {str(videos.folder)!r}, "--output_dir", {str(tmp_path / "out")!r}]
        extract_features.main()
    """)
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.DEVNULL)
    while len(list((tmp_path / "out").rglob("records/*.json"))) < 3 and process.poll() is None:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(list((tmp_path / "out").rglob("records/*.json"))) < 8
    folder = extracted()
    for path in folder.rglob(".*"):  # what was being written when it was killed
        path.unlink()
    assert contents(folder) == whole


def test_rates(videos: Videos, extracted, refused):
    videos.add("a.mp4", [0, 1, 2, 3, 4])
    videos.add("b.mp4", [0, 0, 1, 1, 2, 2, 3, 3], fps=50)
    said = refused("--split train")
    assert "a.mp4 25, b.mp4 50 frames per second; pass --fps" in said
    folder = extracted("--split train --fps 25")
    assert len(np.load(folder / "train/poses/b.npz")["keypoints"]) == 4
    assert np.load(folder / "train/poses/b.npz")["fps"] == 25
    assert np.load(extracted("--split train --fps keep", "kept") / "train/poses/b.npz")["fps"] == 50


def test_a_video_without_a_person_is_left_out_and_named(videos: Videos, extracted, refused):
    videos.add("somebody.mp4", [0, 1, 2])
    videos.add("nobody.mp4", [255, 255], people=())
    said = refused("--split train")
    assert "1 of 2 recordings were left out, such as nobody.mp4: no person is seen in any of its 2 frames" in said
    folder = extracted("--split train --skip_bad")
    assert [path.stem for path in (folder / "train/poses").iterdir()] == ["somebody"]
    assert "left out: nobody.mp4: no person" in (folder / "report.txt").read_text()


def test_nothing_that_can_be_taken(videos: Videos, refused, tmp_path: Path):
    videos.folder.mkdir()
    assert "holds no video" in refused()
    (videos.folder / "text.mp4").write_text("no video")
    assert "text.mp4: not a video that OpenCV can open" in refused("--split train --fps keep")
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_a_clip_does_not_move_to_another_split(videos: Videos, extracted, refused):
    videos.add("a.mp4", [0, 1, 2])
    extracted("--split train")
    assert "'a' is in train already, and would now go to dev" in refused("--split dev")


def test_a_folder_that_can_not_be_written_to(videos: Videos, refused, tmp_path: Path):
    videos.add("a.mp4", [0, 1, 2])
    (tmp_path / "out").write_text("a file stands where the folder should")
    assert "check the path, its permissions" in refused("--split train")


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "-1/3", "1/"])
def test_shards_that_are_none(shard: str, videos: Videos, extracted, capsys: pytest.CaptureFixture):
    videos.add("a.mp4", [0])
    with pytest.raises(SystemExit):
        extracted(f"--shard={shard}")
    assert "is not I/N" in capsys.readouterr().err


def test_nothing_is_seen_where_many_pictures_are_missing():
    numbers = np.array([*range(10), *range(30, 40)])
    seen = np.ones((20, 75))
    recording = Recording(np.full((20, 75, 2), 0.5), seen, np.ones((20, 64), np.float32), 25.0)
    even = at_even_rate(recording, numbers / 25, 25.0)
    shown = even.visibility.any(1)
    assert len(shown) == 40
    assert np.flatnonzero(~shown).tolist() == [*range(10, 30)]
    assert (np.isfinite(even.nmm).all(1) == shown).all()
    few = np.delete(np.arange(20), [5, 6])
    assert at_even_rate(
        dataclasses.replace(recording, **{k: getattr(recording, k)[:18] for k in ("keypoints", "visibility", "nmm")}),
        few / 25,
        25.0,
    ).visibility.all()


def test_pictures_are_frames_by_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A picture that is missing leaves a gap in time; one without a number is none of the frames."""
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    for name in ("1.png", "2.png", "4.png", "10.png", "3.png", "cover.png", "5.png", "6.png", "7.png", "9.png"):
        (tmp_path / name).touch()
    opened = open_folder(tmp_path, 10.0)
    assert [round(stamp * 10) for stamp, _ in opened.frames] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert opened.notes == ["pictures without a number in their name, which are left out: 1", "missing frames: 1"]


@pytest.mark.parametrize(
    "names",
    [
        ("a_001.jpg", "a_002.jpg", "b_001.jpg", "b_002.jpg"),
        ("0001.png", "0001_depth.png", "0002.png", "0002_depth.png"),
        ("12-30-05.96.png", "12-30-06.00.png", "12-30-06.04.png"),
        ("A.png", "B.png", "C.png"),
    ],
)
def test_pictures_whose_order_cannot_be_told_are_refused(names: tuple[str, ...], tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    for name in names:
        (tmp_path / name).touch()
    said = "differ in more than the frame's number, as|3 pictures have no number in their names, such as A.png"
    with pytest.raises(UserError, match=said):
        open_folder(tmp_path, 10.0)


@pytest.mark.parametrize("name", ["heute.avi_pid0_fn{}-0.png", "frame{}_of_720.png", "clip2_{:04d}.jpg", "{}_v1.png"])
def test_the_number_in_which_pictures_differ_is_the_frames(name: str, tmp_path: Path, monkeypatch):
    """The first is PHOENIX-2014's, with a number behind the frame's."""
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    for number in (9, 10, 12):
        (tmp_path / name.format(number)).touch()
    opened = open_folder(tmp_path, 10.0)
    assert [round(stamp * 10) for stamp, _ in opened.frames] == [0, 1, 3]
    assert opened.notes == ["missing frames: 1"]


@pytest.mark.parametrize(("flags", "is_animation"), [(0x02, True), (0x10, False)])
def test_an_animated_webp_is_no_picture(flags: int, is_animation: bool, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    for number in (1, 2):
        header = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + bytes([flags])
        (tmp_path / f"{number}.webp").write_bytes(header)
    if not is_animation:
        assert open_folder(tmp_path, 10.0).count == 2
        return
    with pytest.raises(UserError, match=r"1\.webp is an animation, of which one picture would be read; convert it"):
        open_folder(tmp_path, 10.0)


def test_more_shards_than_clips(videos: Videos, refused):
    videos.add("a.mp4", [0, 1])
    assert "there are only 1 clips" in refused("--split train --shard 2/3")


def test_a_python_without_mediapipe_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(detector.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"no mediapipe and no cv2.*make \.venv-video"):
        detector.require_packages()


def test_the_tests_of_real_videos_need_no_package_that_their_python_lacks():
    """`make test-video` runs them without torch and pose_format."""
    lacking = "import sys; sys.modules |= dict.fromkeys(['torch', 'pose_format', 'safetensors', 'transformers'])"
    code = f"{lacking}; import pytest, conftest, recordings; print('imported')"
    paths = {"PYTHONPATH": f"{commands.ROOT}{os.pathsep}{commands.ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, capture_output=True, text=True)
    assert done.stdout == "imported\n", done.stderr
