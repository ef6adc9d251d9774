"""What can't be imported is refused in one sentence that names it, and nothing half-made is left."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import POINTS, SIZE, keypoints, skels_line, write_array_frames, write_openpose


class Trap:
    def __reduce__(self):
        return sys.exit, (7,)


BAD = {
    "a circle of links": (lambda folder: (folder.rmdir(), folder.symlink_to(folder)), "", "no such folder"),
    "no number of a picture": (
        lambda folder: np.save(folder / "a.npy", np.where(POINTS > 0.5, 1e300, POINTS)),
        "--source_fps 25",
        "1e+300, which is no coordinate",
    ),
    "too long a name": (
        lambda folder: [(folder / ("k" * 130)).mkdir(), np.save(folder / ("k" * 130) / ("l" * 130), POINTS)],
        "--source_fps 25 --ids path",
        "too many for a file's name",
    ),
    "an empty folder": (lambda folder: None, "", "holds no recording"),
    "two formats": (lambda folder: [np.save(folder / "a.npy", POINTS), (folder / "b.pose").touch()], "", "--format"),
    "no rate": (lambda folder: np.save(folder / "a.npy", POINTS), "", "pass --source_fps"),
    "pixels of no size": (
        lambda folder: write_openpose(folder / "a", [POINTS * SIZE]),
        "--source_fps 25",
        "pass --width and --height",
    ),
    "objects": (
        lambda folder: np.save(folder / "a.npy", np.array(Trap()), allow_pickle=True),
        "--source_fps 25",
        "holds Python objects",
    ),
    "an archive that unpacks to more than its size warrants": (
        lambda folder: np.savez_compressed(folder / "a.npz", keypoints=np.zeros((2**18, 75, 2))),
        "--source_fps 25",
        "a.npz: not a readable .npz of arrays ('keypoints' takes 315 MB unpacked",
    ),
    "another shape": (lambda folder: np.save(folder / "a.npy", np.zeros((9, 226))), "--source_fps 25", "226 numbers"),
    **{
        f"nobody in {shape}": (
            lambda folder, shape=shape: np.save(folder / "a.npy", np.zeros(shape)),
            "--source_fps 25",
            "it holds no frames" if not shape[0] else "no person is seen in any of its 9 frames",
        )
        for shape in ((9, 75, 2), (9, 543, 3), (9, 1662), (0, 75, 2), (0, 543, 3), (0, 1662))
    },
    "no shoulders": (
        lambda folder: np.save(folder / "a.npy", np.where(np.arange(75)[:, None] > 12, POINTS, 0)),
        "--source_fps 25",
        "no frame sees both shoulders",
    ),
    "a name twice in .files": (
        lambda folder: [
            (folder / "a.skels").write_text(f"{skels_line(POINTS)}\n" * 2),
            (folder / "a.files").write_text("dev/one\ndev/one\n"),
        ],
        "--source_fps 25",
        "a.skels: 'one' is named twice; rename one of them",
    ),
    "two endings": (
        lambda folder: [np.save(folder / "a.npy", POINTS), np.savez(folder / "a.npz", POINTS)],
        "--source_fps 25",
        "a.npy and a.npz would both be called 'a'; rename one of them",
    ),
    "no order": (
        lambda folder: np.save(folder / "a.npy", np.random.default_rng(0).random((9, 543, 3))),
        "--source_fps 25",
        "the order of its 543 points is not plain",
    ),
    "torn JSON": (lambda folder: (folder / "a_1.json").write_text('{"people": ['), "--source_fps 25", "not readable"),
    "other JSON": (lambda folder: (folder / "a_1.json").write_text("[]"), "--source_fps 25", "not a frame of OpenPose"),
    "a torn .pose": (lambda folder: (folder / "a.pose").write_bytes(b"\x00\x01"), "", "not a readable .pose"),
    "a torn .skels": (lambda folder: (folder / "a.skels").write_text("0.1 0.2\n"), "--source_fps 25", "151 numbers"),
    "one name twice": (
        lambda folder: [(folder / name).mkdir() or np.save(folder / name / "a.npy", POINTS) for name in "xy"],
        "--source_fps 25",
        "pass --ids path",
    ),
    "a table of column names": (
        lambda folder: [np.save(folder / "a.npy", POINTS), (folder / "t.csv").write_text("id,text\n")],
        "--source_fps 25 --texts {folder}/t.csv",
        "names its columns and holds no text",
    ),
    "people that are none": (
        lambda folder: (folder / "a.json").write_text(json.dumps({"instance_info": [{"instances": 5}]})),
        "--source_fps 25",
        "'instances' are no list of people",
    ),
    "people of one picture": (
        lambda folder: (folder / "000001.json").write_text(json.dumps([{"keypoints": [], "keypoint_scores": []}])),
        "--source_fps 25",
        "holds the people of one picture, as MMPose writes for pictures; give it the video",
    ),
    "no such text file": (
        lambda folder: np.save(folder / "a.npy", POINTS),
        "--source_fps 25 --texts none.txt",
        "none.txt: no such file",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_user_can_do_wrong(name: str, refused, tmp_path: Path):
    make, flags, said = BAD[name]
    make(tmp_path / "in")
    assert said in refused(flags.format(folder=tmp_path / "in"))
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_a_bad_recording_is_named_and_the_others_are_written(refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "good.npy", POINTS)
    (tmp_path / "in" / "bad.npy").write_bytes(b"\x93NUMPY rubbish")
    assert "1 of 2 recordings were left out, such as bad.npy: not a readable .npy" in refused("--source_fps 25")
    assert keypoints(tmp_path / "out", "good")[1].all()
    imported("--source_fps 25 --skip_bad")


@pytest.mark.parametrize("kind", ["JSON", "arrays"])
def test_of_many_frames_the_bad_one_is_named(kind: str, refused, tmp_path: Path):
    folder = tmp_path / "in" / "clip"
    if kind == "JSON":
        write_openpose(folder, [POINTS * SIZE])
        bad = folder / "clip_000000000004_keypoints.json"
        bad.unlink()
        os.mkfifo(bad)  # on which a reader would wait for ever
        said = f"{bad.name}: a named pipe, but a file is needed"
    else:
        write_array_frames(folder, POINTS)
        bad = folder / "004.npy"
        os.truncate(bad, bad.stat().st_size - 8)
        said = f"{bad.name}: not a readable .npy of numbers (an array float64 [75, 3] would not fill"
    assert f"error: clip: {said}" in refused("--source_fps 24 --width 1280 --height 720")
