"""What data_preparation.py says of units, axes and sides: true of a signer, and a refusal of what cannot be one."""

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import commands
import numpy as np
import pytest
from made_up import write_clip

from poses import geometry, layout
from poses.files import Reading
from poses.geometry import Geometry
from poses.motion import HAND_AND_WRIST
from poses.splits import load_split
from poses.statistics import Statistics, prepared_reading, statistics_path

HANDS = [layout.LEFT_HAND_KEYPOINTS, layout.RIGHT_HAND_KEYPOINTS]


def signer(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Keypoints [T,75,2] of somebody who faces the camera: shoulders .3 apart, both hands moving before the chest."""
    points = np.tile(np.array([0.5, 0.5]), (frames, layout.NUM_KEYPOINTS, 1))
    points[:, : layout.LEFT_SHOULDER] = [0.5, 0.2]
    points[:, layout.LEFT_SHOULDER :: 2][:, :12, 0] += 0.15
    points[:, layout.RIGHT_SHOULDER :: 2][:, :11, 0] -= 0.15
    points[:, layout.SHOULDERS, 1] = 0.4
    points[:, layout.RIGHT_HIP + 1 : layout.NUM_BODY, 1] = 1.8
    for side, (hand, wrist) in enumerate(zip(HANDS, (layout.LEFT_WRIST, layout.RIGHT_WRIST), strict=True)):
        root = [0.65 - 0.3 * side, 0.6] + 0.03 * rng.normal(size=(frames, 2))
        points[:, wrist] = root + 0.01
        points[:, hand] = root[:, None] + 0.02 * rng.normal(size=(1, layout.NUM_HAND, 2))
        points[:, hand.start] = root
    return points + 0.001 * rng.normal(size=points.shape)


def exchange_hands(points: np.ndarray) -> np.ndarray:
    out = points.copy()
    out[:, HANDS[0]], out[:, HANDS[1]] = points[:, HANDS[1]], points[:, HANDS[0]]
    return out


def shoulder_units(points: np.ndarray) -> np.ndarray:
    shoulders = points[:, layout.SHOULDERS]
    return (points - shoulders.mean(1, keepdims=True)) / 0.3


def hands_from_wrists(points: np.ndarray) -> np.ndarray:
    points = points.copy()
    for hand, wrist in HAND_AND_WRIST:
        points[:, hand] -= points[:, [wrist]]
    return points


def hands_in_boxes(points: np.ndarray) -> np.ndarray:
    """Each upright hand from 0 to 1 of its own box: the root at the bottom, the middle knuckle 0.6 above it."""
    points = points.copy()
    for hand in HANDS:
        points[:, hand] = np.linspace([0.2, 0.0], [0.8, 0.8], layout.NUM_HAND)
        points[:, [hand.start, hand.start + layout.FINGERS["middle"][0]]] = [[0.5, 1.0], [0.5, 0.4]]
    return points


def hands_first(points: np.ndarray) -> np.ndarray:
    """Upright hands before the body, whose first points then are a hand: its root for a nose, below its fingers."""
    points = points.copy()
    for hand in HANDS:
        points[:, hand] = points[:, [hand.start]] - np.linspace([0, 0], [0.02, 0.1], layout.NUM_HAND)
    return np.concatenate([points[:, layout.NUM_BODY :], points[:, : layout.NUM_BODY]], axis=1)


CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "shoulder units": (shoulder_units, "so the unit is the shoulder width"),
    "from -1 to 1": (lambda points: 2 * points - 1, r"so the unit is another one; .* write \(x \+ 1\) / 2"),
    "x and y exchanged": (
        lambda points: points[..., ::-1],
        "so x and y are exchanged or the picture is turned; .*upright",
    ),
    "turned": (
        lambda points: [1, 0] + points[..., ::-1] * [-1, 1],
        "so x and y are exchanged or the picture is turned",
    ),
    "y upwards": (lambda points: [0, 1] + points * [1, -1], "the nose lies below the shoulders, so y points upwards"),
    "mirrored": (lambda points: [1, 0] + points * [-1, 1], "so left and right are exchanged or it is mirrored"),
    "hands from their wrists": (hands_from_wrists, "from its own wrist, so hands are written relative to something"),
    "hands in boxes of their own": (hands_in_boxes, "so hands are written in units of their own.*bring each hand"),
    "hands first": (hands_first, "or the order is another one; .*their order is body"),
    "a hundredth of the picture": (
        lambda points: 0.4 + 0.01 * points,
        "of the picture apart, so the unit is another one",
    ),
    "hands exchanged": (exchange_hands, "so left and right hand are exchanged; .*: exchange them"),
}


def write_data(folder: Path, change: Callable[[int], Callable], clips: int = 12) -> Path:
    """Clips of signers, each changed by what `change` gives for its number; half of them in train."""
    rng = np.random.default_rng(0)
    for number in range(clips):
        split = ("train", "dev", "train", "test")[number % 4]
        points = change(number)(signer(20, rng)).astype(np.float32)
        write_clip(folder, split, f"clip{number}", 20, rng, keypoints=points, fps=np.float32(25))
        with open(folder / f"{split}.txt", "a") as file:
            file.write(f"clip{number}|text {number}\n")
    return folder


def unchanged(points: np.ndarray) -> np.ndarray:
    return points


def prepare(folder: Path, capsys: pytest.CaptureFixture, flags: str = "") -> tuple[int, str, str]:
    code = 0
    try:
        commands.call("data_preparation", f"--num_workers 0 {flags}", D=folder)
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def test_facts_of_a_known_signer():
    measured, rng = Geometry(), np.random.default_rng(0)
    seen = np.ones((20, layout.POSE_DIM), bool)
    seen[:5, layout.LEFT_HAND] = False
    seen[:, layout.EYE_GAZE] = False
    for _ in range(200):  # more than are measured at once
        nmm = rng.normal(size=(20, layout.NMM_DIM))
        measured.add("", layout.keypoints_to_frame(signer(20, rng), nmm), seen)
    facts = measured.facts()
    assert all(len(fact) == 200 for fact in facts.values())
    np.testing.assert_allclose(facts["width"], 0.3, atol=0.01)
    np.testing.assert_allclose(facts["height"], 0.2 / 0.3, atol=0.02)
    np.testing.assert_allclose(facts["left wrist"], np.sqrt(2) * 0.01 / 0.3, atol=0.01)
    np.testing.assert_allclose(facts["outside"], -0.2, atol=0.01)  # the nose at y = .2
    np.testing.assert_allclose(facts["high"][:, 1], 1.8, atol=0.01)
    for name in ("below", "reversed", "exchanged"):
        assert not facts[name].any()
    for name, part in {"left hand": 0.75, "right hand": 1, "facial_aus": 1, "eye_gaze": 0, "body": 1}.items():
        np.testing.assert_allclose(facts[name], part, atol=1e-6)
    assert geometry.refusal(facts) is None
    assert geometry.differing(measured.ids, facts) == []


def test_a_view_from_the_side_says_nothing_of_left_and_right_and_makes_no_hand_large():
    rng = np.random.default_rng(0)
    points = signer(20, rng)
    points[:, layout.SHOULDERS, 0] = [0.48, 0.52]
    for hand in HANDS:
        points[:, hand.start + layout.FINGERS["middle"][0]] = points[:, hand.start] - [0, 0.1]
    pose, seen = layout.keypoints_to_frame(points, rng.normal(size=(20, layout.NMM_DIM))), np.ones((20, 214), bool)
    facts = geometry.measure(pose, seen, np.array([0]))
    assert np.isnan(facts["reversed"]).all()
    assert facts["large"] == 0


@pytest.mark.filterwarnings("error")
def test_coinciding_shoulders_and_an_unseen_head_tell_nothing():
    rng = np.random.default_rng(0)
    points, seen = signer(20, rng), np.ones((20, layout.POSE_DIM), bool)
    points[:, layout.LEFT_SHOULDER] = points[:, layout.RIGHT_SHOULDER]
    seen[:, layout.keypoint_dims(np.array([layout.NOSE]))] = False
    measured = Geometry()
    measured.add("a", layout.keypoints_to_frame(points, rng.normal(size=(20, layout.NMM_DIM))), seen)
    facts = measured.facts()
    assert geometry.refusal(facts) is None
    assert geometry.differing(["a"], facts) == []
    assert "shoulder width: not seen" in geometry.report(facts)


def test_facts_do_not_depend_on_the_clips_beside_them():
    rng = np.random.default_rng(0)
    clips = [layout.keypoints_to_frame(signer(n, rng), rng.normal(size=(n, layout.NMM_DIM))) for n in (1, 9, 30)]
    seens = [rng.random(clip.shape) < 0.8 for clip in clips]
    together = Geometry()
    for clip, seen in zip(clips, seens, strict=True):
        together.add("", clip, seen)
    for index, (clip, seen) in enumerate(zip(clips, seens, strict=True)):
        alone = geometry.measure(clip, seen, np.array([0]))
        for name, fact in together.facts().items():
            np.testing.assert_allclose(fact[index], alone[name][0], equal_nan=True)


def test_a_data_set_in_the_layout_is_told_and_prepared(tmp_path: Path, capsys):
    code, out, err = prepare(write_data(tmp_path, lambda number: unchanged), capsys)
    assert code == 0, err
    assert "shoulder width: 0.30 image units" in out
    assert "frames per second: 25" in out
    assert "differs" not in out
    info = Statistics.load(tmp_path / "normalization_stats.npz").info
    assert (info["fps"], info["visibility_threshold"], info["resampled_to_fps"]) == (25, 0.01, None)


@pytest.mark.parametrize("name", CHANGES)
def test_a_data_set_in_another_geometry_is_refused_with_what_to_do(tmp_path: Path, name: str, capsys):
    change, message = CHANGES[name]
    code, _, err = prepare(write_data(tmp_path, lambda number: change), capsys)
    assert code == 2
    assert re.search(f"in 12 of 12 clips .*{message}", err), err
    assert not (tmp_path / "normalization_stats.npz").exists()


@pytest.mark.parametrize("name", CHANGES)
def test_half_of_the_clips_are_as_bad_as_all(tmp_path: Path, name: str, capsys):
    change, _ = CHANGES[name]
    code, _, err = prepare(write_data(tmp_path, lambda number: change if number % 2 else unchanged), capsys)
    assert code == 2
    assert "in 6 of 12 clips" in err


@pytest.mark.parametrize("name", CHANGES)
def test_one_split_is_refused_though_the_rest_is_right(tmp_path: Path, name: str, capsys):
    change, message = CHANGES[name]
    code, _, err = prepare(write_data(tmp_path, lambda number: change if number % 4 == 1 else unchanged), capsys)
    assert code == 2
    assert re.search(f"/dev: in 3 of 3 clips .*{message}", err), err


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (layout.SHOULDERS, "warning: no clip shows both shoulders"),
        # So do the seventeen points of COCO in the first places look, if the ankles are unseen.
        ([layout.LEFT_WRIST, layout.RIGHT_WRIST], "warning: clips show hands, but none shows a wrist"),
    ],
)
def test_clips_that_lack_a_part_are_told_not_to_be_judged(lacking: list[int], said: str, tmp_path: Path, capsys):
    def without(points: np.ndarray) -> np.ndarray:
        return np.where(np.isin(np.arange(75), lacking)[:, None], 0, points)

    code, out, _ = prepare(write_data(tmp_path / "all", lambda number: without), capsys)
    assert code == 0
    assert said in out
    for name, change in (("half", lambda number: without if number % 2 else unchanged), ("none", lambda _: unchanged)):
        assert said not in prepare(write_data(tmp_path / name, change), capsys)[1]


def test_a_head_pose_in_degrees_is_refused(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    for path in folder.glob("*/nmms/*.pkl"):
        nmm = pickle.loads(path.read_bytes())
        nmm["head_pose"] = np.degrees(0.2 * np.clip(nmm["head_pose"], -1, 1)).astype(np.float32)
        path.write_bytes(pickle.dumps(nmm))
    code, _, err = prepare(folder, capsys)
    assert code == 2
    assert "so 'head_pose' is in degrees; its angles are in radians" in err


def test_hands_that_change_places_in_single_frames_are_told(tmp_path: Path, capsys):
    def every_fourth(points: np.ndarray) -> np.ndarray:
        out = points.copy()
        out[::4] = exchange_hands(points)[::4]
        return out

    code, out, _ = prepare(write_data(tmp_path, lambda number: every_fourth), capsys)
    assert code == 0
    assert "hands at each other's wrists: in 25 % of the frames" in out


@pytest.mark.parametrize("name", CHANGES)
def test_a_clip_that_differs_is_named(tmp_path: Path, name: str, capsys):
    change, _ = CHANGES[name]
    code, out, err = prepare(write_data(tmp_path, lambda number: change if number == 5 else unchanged), capsys)
    assert code == 0, err
    lines = [line for line in out.splitlines() if line.startswith("differs: ")]
    assert lines
    assert all(line.endswith("/clip5") for line in lines)


@pytest.mark.parametrize(("keypoint", "named"), [(layout.LEFT_WRIST, True), (layout.RIGHT_HIP + 1, False)])
def test_one_keypoint_astray_names_its_clip_unless_it_is_of_a_leg(tmp_path: Path, keypoint: int, named: bool, capsys):
    def stray(points: np.ndarray) -> np.ndarray:
        out = points.copy()
        out[7, keypoint] = [3.0, 0.5]
        return out

    code, out, _ = prepare(write_data(tmp_path, lambda number: stray if number == 5 else unchanged), capsys)
    assert code == 0
    assert ("differs: 1 of 12 clips have keypoints far outside the picture: dev/clip5" in out) == named


def test_a_body_that_changes_to_another_persons_is_named(tmp_path: Path, capsys):
    def elsewhere(points: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(points))[:, None, None] < 12, points, 0.6 * points - [0.1, 0])

    _, out, _ = prepare(write_data(tmp_path, lambda number: elsewhere if number == 5 else unchanged), capsys)
    assert "differs: 1 of 12 clips have a body that jumps by more than a shoulder width" in out


@pytest.mark.parametrize("pixels", [range(12), [4]])
def test_pixels_are_refused_where_they_stand(tmp_path: Path, pixels, capsys):
    folder = write_data(tmp_path, lambda n: (lambda p: p * [640, 480]) if n in pixels else unchanged)
    code, _, err = prepare(folder, capsys)
    assert code == 2
    assert "train/poses/clip4.npz: 'keypoints' holds " in err
    assert "divide pixels by its width and height" in err


@pytest.mark.parametrize("lacks", ["train", "dev"])
def test_a_split_that_lacks_a_part_is_told(lacks: str, tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    assert "hardly shows" not in prepare(folder, capsys)[1]
    for path in folder.glob(f"{lacks}/poses/*.npz"):
        with np.load(path) as archive:
            points = archive["keypoints"]
        points[:, layout.LEFT_HAND_KEYPOINTS] = np.nan
        np.savez(path, keypoints=points, fps=25.0)
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    others = {"train": ["dev", "test"], "dev": ["train"]}[lacks]
    told = "differs: {} hardly shows what {} does: left hand (0 % of it, 100 % in {}); was it made in another way?"
    assert [line for line in out.splitlines() if "hardly shows" in line] == [
        told.format(lacks, other, other) for other in others
    ]


def test_a_split_of_another_rate_or_side_is_told():
    """Hands of test go farther in each frame where frames were left out; the other hand moves where it was mirrored."""
    rng = np.random.default_rng(0)

    def facts(count: int, fast: int, step: float) -> geometry.Facts:
        found = Geometry()
        for _ in range(count):
            points = signer(60, rng)
            for side, wrist in enumerate((layout.LEFT_WRIST, layout.RIGHT_WRIST)):
                steps = step * (2 if side == fast else 1) * rng.normal(size=(60, 2))
                points[:, wrist] = np.cumsum(steps, axis=0) + np.array([0.65 - 0.3 * side, 0.6])
            pose = layout.keypoints_to_frame(points, np.zeros((60, 64)))
            found.add("", pose, np.ones(pose.shape, bool))
        return found.facts()

    train = facts(20, fast=1, step=0.004)

    def told_of(*split) -> list[str]:
        mine = facts(*split)
        return [*geometry.other_pace("test", mine, train), *geometry.other_side("test", mine, train)]

    assert told_of(8, 1, 0.005) == []
    assert told_of(geometry.ENOUGH_CLIPS - 1, 0, 0.01) == []
    (told,) = told_of(8, 1, 0.008)
    assert re.match(r"hands of test go (1\.[89]|2\.[01])\d? times as far from frame to frame as those of train", told)
    (told,) = told_of(8, 0, 0.004)
    assert told.startswith("the left hand moves more in test, the right hand in train: videos that were mirrored")


def test_a_split_of_pictures_of_another_shape_is_told(tmp_path: Path, capsys):
    """As dev at 16:9 beside train at 4:3, each from 0 to 1 of its own picture."""

    def wider(points: np.ndarray) -> np.ndarray:
        return points * [0.75, 1]

    _, out, _ = prepare(write_data(tmp_path, lambda number: wider if number % 4 == 1 else unchanged, clips=20), capsys)
    assert [line for line in out.splitlines() if "another shape" in line] == [
        "differs: people of dev are 1.33 times as long as those of train, for their width: pictures of another shape? "
        "x and y are 0 to 1 of the picture, so all should have one"
    ]


def test_a_split_that_shows_the_other_hand_is_told():
    rng = np.random.default_rng(0)
    parts = []
    for hidden in (layout.RIGHT_HAND, layout.LEFT_HAND):
        found = Geometry()
        for _ in range(8):
            pose = layout.keypoints_to_frame(signer(20, rng), np.zeros((20, 64)))
            seen = np.ones(pose.shape, bool)
            seen[5:, hidden] = False
            found.add("", pose, seen)
        parts.append(found.facts())
    (told,) = geometry.other_side("dev", *parts)
    assert told.startswith("the left hand is seen more in dev, the right hand in train")


@pytest.mark.parametrize(("factor", "told"), [(1.0, False), (100.0, True)])
def test_faces_in_another_unit_are_told(factor: float, told: bool, tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    for path in folder.glob("*/nmms/*.pkl"):
        nmm = pickle.loads(path.read_bytes())
        nmm["facial_aus"] = np.clip(nmm["facial_aus"], -1, 1) * factor
        path.write_bytes(pickle.dumps(nmm))
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert ("differs: facial_aus reaches 100 in the median clip" in out) == told
    assert out.count(" reaches ") == told


@pytest.mark.parametrize(
    ("feature", "factor", "said"),
    [
        ("facial_aus", 1 / 15, "have facial_aus 2.5 times as large or small as most"),
        ("mouth_shape", 1 / 15, "have mouth_shape 2.5 times as large or small as most"),
        ("eye_gaze", 15, "have eye_gaze 10 times as large or small as most"),
        ("head_pose", 40, "have a head that is turned away throughout, as in degrees or from another zero"),
    ],
)
def test_clips_whose_face_is_in_another_unit_than_most_are_named(feature: str, factor: float, said: str):
    found, rng = Geometry(), np.random.default_rng(0)
    other = np.ones(layout.POSE_DIM)
    other[layout.NMM_SLICES[feature]] = factor
    for number in range(12):
        nmm = 0.08 * rng.uniform(-1, 1, size=(20, layout.NMM_DIM))
        pose = layout.keypoints_to_frame(signer(20, rng), nmm) * (other if number == 5 else 1)
        found.add(f"clip{number}", pose, np.ones(pose.shape, bool))
    assert geometry.differing(found.ids, found.facts()) == [f"1 of 12 clips {said}: clip5"]


def test_what_was_noted_is_said_once_for_the_data_set(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    for path in folder.glob("*/poses/*.npz"):
        with np.load(path) as archive:
            np.savez(path, **archive, score=np.ones(3))
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert out.splitlines().count("'score' of .npz files is not read (12 clips, such as clip0)") == 1


def test_clips_that_do_not_say_their_rate_are_counted(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    path = folder / "train" / "poses" / "clip4.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive if name != "fps"}
    np.savez(path, **arrays)
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert "no 'fps' in a file, so 25 is taken, as the others say (1 clip, such as clip4)" in out


def test_empty_texts_are_counted(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    (folder / "dev.txt").write_text("clip1|\nclip5|x\nclip9|...\n")
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert "dev: 3 clips, 1 texts" in out
    assert "dev: 2 clips have an empty text" in out
    (folder / "dev.txt").write_text("clip1|y\nclip5|x\nclip9|X.\n")
    assert "dev: 3 clips, 2 texts" in prepare(folder, capsys)[1]


@pytest.mark.parametrize(("text", "told"), [("it&#39;s", True), ("a <b>b</b>", True), ("a < b & c; d > e", False)])
def test_texts_that_hold_html_are_told(text: str, told: bool, tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    (folder / "dev.txt").write_text(f"clip1|{text}\nclip5|x\nclip9|y\n")
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert (f"dev: 1 texts hold HTML, such as '{text}'" in out) == told


def test_texts_of_garbled_letters_are_told(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    (folder / "dev.txt").write_text("clip1|schÃ¶n\nclip5|größer\nclip9|\n", encoding="utf-8")
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert [line for line in out.splitlines() if "garbled letters" in line] == [
        "dev: 1 texts hold garbled letters, such as 'schÃ¶n', which were read in another encoding before, or lost; "
        "write these texts again in UTF-8"
    ]


def test_texts_that_are_classes_or_nothing_are_told(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    (folder / "dev.txt").write_text("clip1|7\nclip5|12.0\nclip9|\n")
    (folder / "test.txt").write_text("clip3|nan\nclip7|NaN\nclip11|8\n")
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    told = [line for line in out.splitlines() if "every text is a number" in line or "for nothing" in line]
    assert told == [
        "dev: every text is a number; if these are classes, write what is signed in their place",
        "test: 2 texts are 'nan', as programs write for nothing; leave them empty if nothing is signed",
    ]


@pytest.mark.parametrize(
    ("of", "to", "said"),
    [
        (
            "train/clip4",
            "test",
            "1 clips of test also occur in train, such as test/a and train/clip4; their scores mean",
        ),
        ("dev/clip5", "test", "1 clips of test also occur in dev, such as test/a and dev/clip5; dev chooses the model"),
        ("train/clip4", "train", "1 clips are in train twice, such as train/clip4 and train/a"),
    ],
)
def test_clips_that_occur_twice_are_told(of: str, to: str, said: str, tmp_path: Path, capsys):
    folder, (split, name) = write_data(tmp_path, lambda number: unchanged), of.split("/")
    for sub, suffix in (("poses", "npz"), ("nmms", "pkl")):
        shutil.copy(folder / split / sub / f"{name}.{suffix}", folder / to / sub / f"a.{suffix}")
    with open(folder / f"{to}.txt", "a") as file:
        file.write("a|text 4\n")
    code, out, _ = prepare(folder, capsys)
    assert code == 0
    assert said in out


def test_a_common_rate_is_refused_where_only_some_clips_state_another(tmp_path: Path, capsys):
    """Those without would keep their frames, and the same movement be learnt at two speeds."""
    folder = write_data(tmp_path, lambda number: unchanged)
    for number, path in enumerate(sorted(folder.glob("*/poses/*.npz"))):
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive if name != "fps"}
        np.savez(path, **arrays, **({"fps": np.float32(50)} if number % 2 else {}))
    code, _, err = prepare(folder, capsys, "--fps 25")
    assert code == 2
    assert "--fps: some clips state no fps, and others another rate" in err


def test_splits_of_two_rates_are_refused(tmp_path: Path, capsys):
    folder = write_data(tmp_path, lambda number: unchanged)
    for path in (folder / "dev" / "poses").iterdir():
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez(path, **{**arrays, "fps": np.float32(50)})
    code, _, err = prepare(folder, capsys)
    assert code == 2
    assert "train 25, dev 50, test 25 frames per second; bring them to one with --fps" in err


def test_a_read_only_data_set_is_prepared_into_the_cache(tmp_path: Path, capsys, monkeypatch):
    folder = write_data(tmp_path / "data", lambda number: unchanged)
    before = sorted(path for path in folder.rglob("*"))
    monkeypatch.setattr("poses.statistics.os.access", lambda path, mode: Path(path) != folder)
    commands.call("data_preparation", f"--num_workers 0 --visibility_threshold 0.3 --cache_dir {tmp_path}/c", D=folder)
    assert sorted(path for path in folder.rglob("*")) == before
    (statistics,) = (tmp_path / "c").glob("*normalization_stats.npz")
    assert str(statistics) in capsys.readouterr().out
    assert statistics_path(folder, tmp_path / "c") == statistics
    assert prepared_reading(folder, tmp_path / "c") == Reading(visibility_threshold=0.3)
    packs = set((tmp_path / "c").iterdir())
    load_split(folder, "train", tmp_path / "c")  # as it was prepared, so nothing new is packed
    assert set((tmp_path / "c").iterdir()) == packs
