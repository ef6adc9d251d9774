"""The page holds its clips' numbers, in little space, and nothing that a text could break."""

import base64
import html
import json
import re
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_up import write_data
from test_figure import signer

import visualize
from evaluation.clips import Clip, Reference
from evaluation.predictions import write_predictions
from evaluation.report import write_clips
from poses import figure, layout, page
from poses.files import list_clips, read_clip
from poses.motion import face_energy, hand_energy
from runtime.errors import UserError

HOSTILE = '</script><script>alert("1")</script> <!-- & \u2028 {{data}} {{digest}}'


def shown(frames: int = 12, seed: int = 0) -> page.PageClip:
    pose = signer(frames)
    pose += np.random.default_rng(seed).normal(scale=2e-3, size=pose.shape) * (pose != 0)
    seen = np.repeat((pose != 0).any(0)[None], frames, axis=0)
    seen[:, layout.NMM] = True
    seen[0, layout.RIGHT_HAND] = False
    return page.PageClip(pose.astype(np.float32), seen, [("a", 0, 5)])


def write(path: Path, *entries: page.Entry, **more) -> str:
    page.write_page(path, more.pop("title", "title"), entries, np.ones(layout.NMM_DIM), **more)
    return path.read_text(encoding="utf-8")


def content_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', text)[1])


def unpack(text: str, clip: dict) -> np.ndarray:
    """The rows [R,T] of a clip, as the page's script unpacks them; NaN where unknown."""
    part = re.search(f'id="part{clip["part"]}">(.*?)<', text)[1]
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(part), -15), np.uint8).reshape(2, -1, clip["frames"])
    steps = np.cumsum(low.astype(np.int64) + 256 * high.astype(np.int64), axis=1).astype(np.uint16).astype(np.int16)
    return np.where(steps == page.UNKNOWN, np.nan, steps)


def test_a_clips_numbers_come_back(tmp_path: Path):
    clip = shown()
    text = write(tmp_path / "p.html", page.Entry("id", "text", 25, {"real": clip}))
    kept = content_of(text)["entries"][0]["clips"][0]
    rows = unpack(text, kept)
    points = rows[: 2 * len(page.DRAWN)].reshape(len(page.DRAWN), 2, -1).transpose(2, 0, 1) * page.KEYPOINT_STEP
    expected = figure.visible_points(np.where(clip.seen, clip.pose, np.nan), 1.0)[:, page.DRAWN]
    np.testing.assert_allclose(points, expected, atol=page.KEYPOINT_STEP)
    face, energies = rows[2 * len(page.DRAWN) : -2] * page.FACE_STEP, rows[-2:]
    np.testing.assert_allclose(face.T, clip.pose[:, layout.NMM], atol=page.FACE_STEP)
    hands, faces = energies * np.array(kept["energySteps"])[:, None]
    assert np.isnan([hands[0], faces[0]]).all()
    np.testing.assert_allclose(hands[1:], hand_energy(clip.pose, clip.seen), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(faces[1:], face_energy(clip.pose, clip.seen, np.ones(64)), rtol=1e-3, atol=1e-5)


def test_a_face_of_which_a_part_was_measured_is_there(tmp_path: Path):
    """Few tools measure all of a face: the head's pose alone shows it."""
    clip = shown()
    clip.seen[:, layout.NMM] = False
    clip.seen[:3, layout.NMM_SLICES["head_pose"]] = True
    content = content_of(write(tmp_path / "p.html", page.Entry("id", "text", 25, {"real": clip})))
    values = dict(zip((m["key"] for m in content["measures"]), content["entries"][0]["values"], strict=True))
    assert values["face"] == [0.25]
    assert values["right hand"] == [pytest.approx(11 / 12, abs=1e-5)]


def test_points_far_from_the_picture_keep_their_places(tmp_path: Path):
    """A wide picture reaches beyond two of its heights, and pixels reach farther."""
    clip = shown()
    text = write(tmp_path / "p.html", page.Entry("id", "text", 25, {"real": clip}), aspect=4.0)
    kept = content_of(text)["entries"][0]["clips"][0]
    rows = unpack(text, kept)[: 2 * len(page.DRAWN)].reshape(len(page.DRAWN), 2, -1).transpose(2, 0, 1)
    expected = figure.visible_points(np.where(clip.seen, clip.pose, np.nan), 4.0)[:, page.DRAWN]
    assert np.nanmax(expected) > 2
    np.testing.assert_allclose(rows * kept["keypointStep"], expected, atol=kept["keypointStep"])


def test_clips_side_by_side_have_one_size(tmp_path: Path):
    near, far = shown(), shown()
    far.pose[:, layout.keypoint_dims(np.r_[layout.RIGHT_HAND_KEYPOINTS])[1::2]] += 0.4
    content = content_of(write(tmp_path / "p.html", page.Entry("id", "", 25, {"near": near, "far": far})))
    sizes = [clip["half"] / clip["shoulders"] for clip in content["entries"][0]["clips"]]
    assert sizes[0] == pytest.approx(sizes[1])
    assert sizes[0] > 1.5


def test_absurd_and_unseen_clips_are_shown_without_error(tmp_path: Path, recwarn):
    nothing = page.PageClip(np.full((3, layout.POSE_DIM), np.nan), np.zeros((3, layout.POSE_DIM), bool))
    absurd = page.PageClip(np.full((1, layout.POSE_DIM), 1e30), np.ones((1, layout.POSE_DIM), bool))
    text = write(tmp_path / "p.html", page.Entry("a", "", 25, {"x": nothing, "y": absurd}))
    assert np.isnan(unpack(text, content_of(text)["entries"][0]["clips"][0])).all()
    assert not [str(warning.message) for warning in recwarn]


def test_no_text_leaves_its_place(tmp_path: Path):
    clip = page.PageClip(shown().pose, shown().seen, [(HOSTILE, 0, 2)])
    measure = page.Measure("m", "lower", HOSTILE)
    entry = page.Entry(HOSTILE, HOSTILE, 25, {HOSTILE: clip}, {"m": {HOSTILE: 1.0}})
    text = write(tmp_path / "p.html", entry, title=HOSTILE, measures=[measure])
    plain = write(tmp_path / "q.html", page.Entry("i", "t", 25, {"l": clip}))
    assert text.count("<script") == plain.count("<script")
    assert text.count("</script") == plain.count("</script")
    assert "alert(" not in re.sub(r"<script type.*?</script>", "", text).replace(html.escape(HOSTILE), "")
    content = content_of(text)
    assert content["entries"][0]["text"] == content["labels"][0] == content["title"] == HOSTILE
    assert not re.search(r"https?:", re.sub(r"<script type.*?</script>", "", text))


def test_two_hundred_clips_stay_small(tmp_path: Path):
    """Ten clips of 115 frames, which is PHOENIX-2014-T's mean, three side by side."""
    entries = [
        page.Entry(str(n), "text", 25, {label: shown(115, 3 * n + k) for k, label in enumerate("abc")})
        for n in range(10)
    ]
    write(tmp_path / "p.html", *entries)
    assert (tmp_path / "p.html").stat().st_size * 20 < 30e6


@pytest.mark.parametrize(
    ("better", "worst"),
    [("lower", 3.0), ("higher", 0.5), ("near 1", 3.0), ("near 0", 3.0), ("as the reference", 3.0), ("–", 3.0)],
)
def test_the_worst_is_found(better: str, worst: float):
    measure = page.Measure("m", better, "")
    values = [{"model": value, "reference": 0.6} for value in (0.5, 0.9, 3.0, np.nan)]
    found = max(values, key=lambda of_clip: measure.badness(of_clip, "model", "reference"))
    assert found["model"] == worst
    assert measure.badness(values[-1], "model", "reference") == -np.inf


# ---- what visualize.py makes of folders ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set D with a dev split of three clips, and folders a and b as evaluate.py leaves them, in two formats."""
    from evaluation.evaluator import score_clips  # here, since it needs torch, and test_page_browser.py has none

    folder = tmp_path_factory.mktemp("evaluated")
    data = write_data(folder / "D", {"dev": [9, 12, 10], "train": [8]})
    clips = [read_clip(data, "dev", clip_id, text) for clip_id, text in list_clips(data, "dev").items()]
    references = [Reference(clip.pose, clip.seen, clip.id, clip.text) for clip in clips]
    for name, scale, suffix in (("a", 0.02, ".npy"), ("b", 0.05, ".pose")):
        rng = np.random.default_rng(1)
        made = [(c.pose + rng.normal(scale=scale * (n + 1), size=c.pose.shape)) for n, c in enumerate(references)]
        predictions = [Clip.generated(pose.astype(np.float32)) for pose in made]
        write_predictions(folder / name / "predictions_dev", references, predictions, suffix, 25)
        scores = {"model": score_clips(predictions, references), "reference": score_clips(references, references)}
        write_clips(folder / name, "dev", references, scores)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["visualize.py", *map(str, words)])
    visualize.main()


def test_a_page_of_evaluations_has_their_values(evaluated: Path, tmp_path: Path, monkeypatch, capsys):
    folders = [f"first={evaluated / 'a'}", evaluated / "b"]
    run(monkeypatch, "--evaluation", *folders, "--data_dir", evaluated / "D", "--output", tmp_path / "p.html")
    content = content_of((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert content["labels"] == ["reference", "first", "b"]
    assert [entry["id"] for entry in content["entries"]] == ["dev0", "dev1", "dev2"]
    assert content["entries"][1]["text"] == "text 1"
    assert content["sort"] == "dtw"
    with np.load(evaluated / "b" / "clips_dev.npz") as kept:
        dtw, speeds = kept["model/dtw"], kept["model/hand_speeds"]
    keys = [measure["key"] for measure in content["measures"]]
    for n, entry in enumerate(content["entries"]):
        values = dict(zip(keys, entry["values"], strict=True))
        assert values["dtw"][2] == pytest.approx(dtw[n], rel=1e-5)
        assert values["motion_ratio"][2] == pytest.approx(speeds[n, 0] / speeds[n, 1], rel=1e-5)
        assert values["dtw"][0] == 0
        assert values["frames"] == [clip["frames"] for clip in entry["clips"]]
    assert "frames per second" in capsys.readouterr().out


def test_folders_that_scored_different_clips_show_those_of_all(evaluated: Path, tmp_path: Path, monkeypatch):
    some = shutil.copytree(evaluated / "a", tmp_path / "some")  # as of a model, which signs no clip without a text
    with np.load(some / "clips_dev.npz") as kept:
        ids, arrays = kept["ids"], {name: kept[name] for name in kept.files}
    scores = {
        row: {name.partition("/")[2]: values[1:] for name, values in arrays.items() if name.startswith(f"{row}/")}
        for row in ("model", "reference")
    }
    texts = list_clips(evaluated / "D", "dev")
    clips = [read_clip(evaluated / "D", "dev", clip_id, texts[clip_id]) for clip_id in ids[1:].tolist()]
    write_clips(some, "dev", [Reference(clip.pose, clip.seen, clip.id, clip.text) for clip in clips], scores)
    checked: list[list[str]] = []
    monkeypatch.setattr(visualize, "require_scored", lambda _, __, clips: checked.append([clip.id for clip in clips]))
    more = ["--data_dir", evaluated / "D", "--output", tmp_path / "p.html"]
    for folders in ([some, evaluated / "b"], [evaluated / "b", some]):
        run(monkeypatch, "--evaluation", *folders, *more)
        content = content_of((tmp_path / "p.html").read_text(encoding="utf-8"))
        assert [entry["id"] for entry in content["entries"]] == ["dev1", "dev2"]
    assert sorted(map(len, checked)) == [2, 2, 3, 3]  # each folder against all that it scored


def test_a_hand_that_is_scored_as_absent_is_not_shown_and_a_short_gap_is_filled(tmp_path: Path, monkeypatch):
    """A detector's mistake of three frames is no hand, and its loss of the hand for three frames no absence."""
    pose = signer(30).astype(np.float32)
    right, left = pose[:, layout.RIGHT_HAND].copy(), layout.LEFT_HAND
    pose[:, left] = 0
    pose[12:15, left] = right[12:15]
    pose[20:23, layout.RIGHT_HAND] = 0
    np.save(tmp_path / "clip.npy", pose)
    run(monkeypatch, "--clips", tmp_path / "clip.npy", "--output", tmp_path / "p.html")
    content = content_of((tmp_path / "p.html").read_text(encoding="utf-8"))
    values = dict(zip((m["key"] for m in content["measures"]), content["entries"][0]["values"], strict=True))
    assert (values["left hand"], values["right hand"]) == ([0.0], [1.0])


def test_of_many_clips_the_worst_are_shown(evaluated: Path, tmp_path: Path, monkeypatch, capsys):
    more = ["--data_dir", evaluated / "D", "--output", tmp_path / "p.html", "--num_clips", 2]
    run(monkeypatch, "--evaluation", evaluated / "a", *more)
    content = content_of((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert [entry["id"] for entry in content["entries"]] == ["dev1", "dev2"]
    assert "the 2 of 3 clips that are worst by dtw" in capsys.readouterr().out


def test_a_page_of_a_split(evaluated: Path, tmp_path: Path, monkeypatch):
    run(monkeypatch, "--data_dir", evaluated / "D", "--output", tmp_path / "p.html", "--fps", 30, "--sort", "frames")
    content = content_of((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert content["labels"] == ["real"]
    assert [entry["fps"] for entry in content["entries"]] == [30] * 3
    assert content["sort"] == "frames"


def test_a_page_of_named_clips_has_their_text(evaluated: Path, tmp_path: Path, monkeypatch):
    np.save(tmp_path / "clip.npy", signer().astype(np.float32))
    words = [f"real={evaluated / 'D/dev/poses/dev1.npz'}", f"made={tmp_path / 'clip.npy'}"]
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"dev1": [["letter", 0, 4]]}))
    run(monkeypatch, "--clips", *words, "--output", tmp_path / "p.html", "--captions", captions)
    entry = content_of((tmp_path / "p.html").read_text(encoding="utf-8"))["entries"][0]
    assert (entry["text"], entry["id"]) == ("text 1", "dev1, clip")
    assert [clip["captions"] for clip in entry["clips"]] == [[["letter", 0, 4]], []]


@pytest.mark.parametrize(
    ("second", "shown"), [("text 1", "text 1"), ("", "text 1"), ("something else", "text 1 / something else")]
)
def test_clips_of_several_texts_show_them_all(evaluated: Path, tmp_path: Path, monkeypatch, second: str, shown: str):
    np.save(tmp_path / "clip.npy", signer().astype(np.float32))
    (tmp_path / "clip.json").write_text(json.dumps({"text": second}))
    clips = [evaluated / "D/dev/poses/dev1.npz", tmp_path / "clip.npy"]
    run(monkeypatch, "--clips", *clips, "--output", tmp_path / "p.html")
    assert content_of((tmp_path / "p.html").read_text(encoding="utf-8"))["entries"][0]["text"] == shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--evaluation", "E/a"], "needs --data_dir"),
        (["--output", "p.html"], "nothing to show"),
        (["--clips", "E/a/predictions_dev/dev0.npy", "--output", "p.avi"], "must end in .html or .mp4 or .gif"),
        (["--evaluation", "E/a", "--data_dir", "E/D", "--output", "p.mp4"], "must end in .html"),
        (["--data_dir", "E/D", "--sheet", "p.png"], "--sheet draws --clips"),
        (["--clips", "E/a/predictions_dev/dev0.npy", "--data_dir", "E/D", "--output", "p.html"], "leave one out"),
    ],
)
def test_flags_that_do_not_fit_are_named(evaluated: Path, monkeypatch, capsys, words: list[str], said: str):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *(word.replace("E/", f"{evaluated}/") for word in ["--output", "x.html", *words]))
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--evaluation", "E/D"], "no predictions; run evaluate.py again with --save_predictions"),
        (["--evaluation", "E/a", "--split", "train"], r"clips_train\.npz: no such file"),
        (["--evaluation", "E/a", "E/a"], "different labels"),
        (["--evaluation", "reference=E/a"], "different labels"),
        (["--evaluation", "E/a", "--sort", "beauty"], "--sort beauty: no metric of these clips; choose from dtw,"),
        (["--split", "test"], "no such folder"),
    ],
)
def test_folders_that_do_not_fit_are_named(evaluated: Path, tmp_path: Path, monkeypatch, words: list[str], said: str):
    words = [word.replace("E/", f"{evaluated}/") for word in words]
    with pytest.raises(UserError, match=said):
        run(monkeypatch, *words, "--data_dir", evaluated / "D", "--output", tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


def test_a_prediction_that_is_gone_is_named(evaluated: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "E" / "predictions_dev").mkdir(parents=True)
    (tmp_path / "E" / "clips_dev.npz").write_bytes((evaluated / "a" / "clips_dev.npz").read_bytes())
    with pytest.raises(UserError, match=r"dev0\.npy: no such file, nor \.pose"):
        run(monkeypatch, "--evaluation", tmp_path / "E", "--data_dir", evaluated / "D", "--output", tmp_path / "p.html")
