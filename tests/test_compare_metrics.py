"""compare_metrics.py: which of two evaluations is better, in what, and which two can't be compared."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest

from evaluation import summary
from evaluation.clips import read_references, references_fingerprint
from poses import layout
from poses.splits import load_split

compare = functools.partial(commands.call_script, "compare_metrics.py")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture):
    """Compares where it must be refused; returns what was said."""
    return lambda *words: commands.one_sentence(capsys, lambda: compare(*words))


@pytest.fixture
def other(evaluated, tmp_path: Path) -> Path:
    """A copy of the evaluation, to be changed."""
    return shutil.copytree(evaluated, tmp_path / "other")


def change_report(folder: Path, **changes: object) -> None:
    """Replace entries of an evaluation's report; None takes one out."""
    path = folder / "metrics_dev.json"
    report = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in report.items() if value is not None}), encoding="utf-8")


def test_two_rows_compare_and_other_clips_do_not(evaluated, refused, tmp_path, capsys):
    compare(evaluated, evaluated, "--row_b", "reference", "--output_path", tmp_path / "table.json")
    said = capsys.readouterr().out
    assert "A - B" in said
    assert "[-, -]: fewer than 6 clips" in said  # there are two
    assert "left out, since latents are kept of the rows 'model' alone: frechet" in said
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["dtw"]["difference"] == pytest.approx(table["dtw"]["a"])
    assert "frechet" not in table  # the reference keeps no latents
    with np.load(evaluated / "clips_dev.npz") as archive:
        np.savez(tmp_path / "clips_dev.npz", **{**archive, "ids": archive["ids"][::-1]})
    compare(evaluated / "clips_dev.npz", evaluated, "--row_b", "nearest_text")
    capsys.readouterr()
    assert "other clips" in refused(evaluated, tmp_path)


@pytest.mark.parametrize(
    ("metric", "a", "b", "said"),
    [
        ("dtw", 0.9, 1.1, "A better"),
        ("recognition", 0.9, 1.1, "B better"),
        ("motion_ratio", 0.9, 0.4, "A better"),  # near 1
        ("motion_ratio", 1.6, 1.2, "B better"),
        ("motion_ratio", 0.9, 1.2, "differs"),  # on two sides of 1
        ("sync_correlation", 3.0, 1.5, "B better"),  # near the reference's, here 1
        ("sync_correlation_reference", 3.0, 1.5, "differs"),
    ],
)
def test_a_comparison_says_which_side_is_better(metric: str, a: float, b: float, said: str):
    line = {"a": a, "b": b, "difference": a - b, "low": a - b - 0.01, "high": a - b + 0.01}
    assert summary.verdict(metric, line, {"sync_correlation_reference": {"a": 1.0, "b": 1.0}}) == said
    assert summary.verdict(metric, {**line, "low": -9.0, "high": 9.0}, {}) == ""


def test_a_comparison_says_which_side_is_marked(evaluated, capsys):
    compare(evaluated, evaluated, "--row_a", "reference", "--row_b", "mean_pose")
    said = capsys.readouterr().out
    assert "B is marked *: motion ratio outside 0.8-1.2" in said
    assert "A is marked" not in said


@pytest.mark.parametrize(
    ("difference", "low", "high", "apart"),
    [
        (1e-9, 1e-9, 1e-9, False),  # what float32 rounds: the same clips as .npy and .pose
        (-1e-9, -2e-9, -1e-10, False),
        (1e-5, 1e-6, 2e-5, True),
        (1e-5, -1e-6, 2e-5, False),
        (0.01, None, None, False),
    ],
)
def test_rounding_is_no_difference(difference: float, low: float | None, high: float | None, apart: bool):
    line = {"a": 0.0638, "b": 0.0638 - difference, "difference": difference, "low": low, "high": high}
    assert summary.differs(line) == apart


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("metrics_dev.json", "is no table of this script, and one would overwrite it; choose another --output_path"),
        ("metrics_test.json", "is no table of this script"),
        ("notes.json", "is no table of this script"),
        ("clips_dev.npz", "must end in .json"),
        ("metrics_dev.pkl", "must end in .json"),
    ],
)
def test_a_table_of_differences_replaces_nothing_but_such_a_table(name, reason, evaluated, other, refused, tmp_path):
    (other / "metrics_test.json").write_bytes((evaluated / "metrics_dev.json").read_bytes())
    (other / "notes.json").write_text("my notes")
    path, table = other / name, tmp_path / "table.json"
    before = path.read_bytes()
    assert reason in refused(evaluated, evaluated, "--output_path", path)
    assert path.read_bytes() == before
    for row in ("reference", "nearest_text"):
        compare(evaluated, evaluated, "--row_b", row, "--output_path", table)


def test_an_evaluation_of_another_split_is_pointed_to(evaluated, refused):
    said = "clips_test.npz: no such file; its folder has --split dev"
    assert said in refused(evaluated, evaluated, "--split", "test")


def test_evaluations_on_two_preparations_of_the_data_do_not_compare(evaluated, other, refused):
    with np.load(evaluated / "clips_dev.npz") as archive:
        half_as_long = {**archive, "reference/frames": archive["reference/frames"] // 2}
    np.savez(other / "clips_dev.npz", **half_as_long)
    assert "prepared or imported anew" in refused(evaluated, other)


def test_evaluations_on_other_poses_or_texts_of_the_same_ids_do_not_compare(evaluated, other, refused):
    change_report(other, references="0" * 12)
    assert "its references (poses, what is seen of them, or texts) are others" in refused(evaluated, other)
    change_report(other, references=None)  # of an earlier version, which wrote none
    compare(evaluated, other)


def test_the_fingerprint_of_references_sees_their_poses_what_is_seen_and_their_texts(evaluated, data_dir):
    references = read_references(load_split(data_dir, "dev"))
    first = references_fingerprint(references)
    assert first == json.loads((evaluated / "metrics_dev.json").read_text(encoding="utf-8"))["references"]
    reference, *others = references
    moved, unseen = reference.pose + np.float32(1e-3), reference.seen.copy()
    unseen[3, layout.BODY] = False
    changes = ({"pose": moved}, {"seen": unseen}, {"text": "another"}, {"id": "another"})
    changed = [dataclasses.replace(reference, **change) for change in changes]
    assert len({first, *(references_fingerprint([one, *others]) for one in changed)}) == 1 + len(changed)


def test_figures_of_two_versions_are_told(evaluated, other, capsys):
    told = "note: another version of the metrics scored A than B; evaluate the older one again"
    compare(evaluated, other)
    assert told not in capsys.readouterr().out
    change_report(other, metrics_version=None)  # of an earlier version, which wrote none
    compare(evaluated, other)
    assert told in capsys.readouterr().out


def test_figures_of_two_judges_do_not_compare(evaluated, other, tmp_path, capsys):
    report = json.loads((other / "metrics_dev.json").read_text(encoding="utf-8"))
    checkpoints = report["checkpoints"] | {"back_translation": "another"}
    change_report(other, checkpoints=checkpoints, thresholds=report["thresholds"] | {"near": 2.0})
    compare(evaluated, other, "--output_path", tmp_path / "table.json")
    said = capsys.readouterr().out
    assert "left out, since A and B do not have the same back translation: bleu1, bleu2," in said
    assert "left out, since A and B do not have the same thresholds: implausible_hands, copied_frames" in said
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["dtw"]["difference"] == table["frechet"]["difference"] == 0
    assert not table.keys() & {"bleu4", "wer", "text_log_likelihood", "copied_frames"}


@pytest.mark.parametrize(
    "damaged",
    [
        {"thresholds": {"copy_distance": "a"}},
        {"thresholds": [1]},
        {"checkpoints": {"autoencoder": {"a": "b"}}},
        {"length_source": ["given"]},
    ],
)
def test_judges_that_are_none_are_one_sentence(damaged, other, refused):
    change_report(other, **damaged)
    assert "metrics_dev.json: not a report of evaluate.py" in refused(other, other)
