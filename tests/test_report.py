"""The report's files and table say what was measured, and mark what must not be believed."""

import json
import pickle

import numpy as np
import pytest

from evaluation.clips import Reference
from evaluation.registry import METRICS
from evaluation.report import (
    ROWS,
    ReportHead,
    build_report,
    format_table,
    read_clips,
    read_report,
    write_clips,
    write_report,
)
from runtime.errors import UserError

KEYS = [metric.key for metric in METRICS]


def make_row(**changes: object) -> dict[str, object]:
    figures = {f"{name}{end}": value for name in KEYS for end, value in (("", 0.5), ("_low", 0.25), ("_high", 0.75))}
    moves = {"motion_ratio": 1.0, "motion_ratio_smoothed": 1.0}
    return {**figures, **moves, "sync_undefined": 0, "mse_aligned": 0, **changes}


def make_report(**rows: dict[str, object]) -> dict[str, object]:
    head = ReportHead(
        split="test",
        num_clips=7,
        length_source="predicted",
        settings={"num_steps": 4, "seed": np.int64(3)},
        checkpoints={"flow": "abc123"},
    )
    latency = {"text": 0.01, "sampling": 0.02, "decoding": np.float32(0.25)}
    return build_report(head, {name: make_row() for name in ROWS} | rows, latency)


def test_json_and_pickle_say_the_same_with_rows_at_the_top(tmp_path):
    report = make_report(
        mean_pose=make_row(motion_ratio=0.0, sync_correlation=float("nan"), sync_lag=np.float64("nan"))
    )
    paths = write_report(tmp_path / "new", report)
    assert [path.name for path in paths] == ["metrics_test.json", "metrics_test.pkl"]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())  # no temporary file stays
    data = json.loads(paths[0].read_text(encoding="utf-8"))
    assert data == pickle.loads(paths[1].read_bytes()) == report
    assert data.keys() == {
        *("split", "num_clips", "references", "length_source", "settings", "checkpoints", "thresholds", "warnings"),
        "metrics_version",
        *ROWS,
    }
    assert (data["split"], data["num_clips"]) == ("test", 7)
    assert data["settings"] == {"num_steps": 4, "seed": 3}
    assert all(data[name].keys() >= set(KEYS) for name in ROWS)
    assert data["model"]["latency"] == {"text": 0.01, "sampling": 0.02, "decoding": 0.25}
    assert data["mean_pose"]["sync_correlation"] is data["mean_pose"]["sync_lag"] is None
    assert "NaN" not in paths[0].read_text(encoding="utf-8")


def test_a_report_replaces_the_one_before(tmp_path):
    write_report(tmp_path, make_report())
    path = write_report(tmp_path, make_report(model=make_row(dtw=9.0)))[0]
    assert json.loads(path.read_text(encoding="utf-8"))["model"]["dtw"] == 9.0


@pytest.mark.parametrize(("ratio", "marked"), [(0.3, True), (0.8, False), (1.2, False), (1.6, True), (None, True)])
def test_rows_that_move_too_little_or_too_much_are_marked(ratio, marked):
    table = format_table(make_report(model=make_row(motion_ratio=ratio)))
    assert ("model*" in table.splitlines()[0]) == marked
    assert ("* motion ratio outside 0.8-1.2" in table) == marked


def test_a_still_clip_with_noise_is_marked_by_its_jerk():
    for jerk, marked in ((1.5, False), (2.1, True), (None, True)):  # clips of three frames have no jerk
        table = format_table(make_report(model=make_row(motion_ratio=1.0, jerk_ratio=jerk)))
        assert ("model*" in table.splitlines()[0]) == marked


def test_a_clip_whose_motion_goes_when_it_is_smoothed_is_marked():
    for smooth, marked in ((0.9, False), (1.4, False), (0.3, True)):
        table = format_table(make_report(model=make_row(motion_ratio_smoothed=smooth)))
        assert ("model*" in table.splitlines()[0]) == marked


@pytest.mark.parametrize("ratio", ["motion_ratio", "jerk_ratio"])
def test_a_report_that_does_not_say_how_its_rows_move_is_none(ratio, tmp_path):
    row = make_row()
    del row[ratio]
    path = write_report(tmp_path, make_report(model=row))[0]
    with pytest.raises(UserError, match="not a report of evaluate"):
        read_report(path)


@pytest.mark.parametrize("change", [{"motion_ratio": {}}, {"dtw": {"low": 1}}, {"dtw": "low"}])
def test_a_report_whose_figures_are_no_numbers_is_none(change, tmp_path):
    path = write_report(tmp_path, make_report(model=make_row(**change)))[0]
    with pytest.raises(UserError, match="not a report of evaluate"):
        read_report(path)


def test_table_states_what_the_figures_were_made_with():
    table = format_table(make_report(model=make_row(mse_aligned=5), mean_pose=make_row(sync_undefined=7)))
    lines = table.splitlines()
    assert lines[0].replace("*", "").split() == list(ROWS)
    assert [line.split()[0] for line in lines[1:] if line.startswith("  ")] == KEYS
    assert next(line for line in lines if line.startswith("  wer ")).split()[1:4] == ["0.5000", "[0.2500,", "0.7500]"]
    for part in (
        "7 clips of test",
        "predicted from the text",
        "num_steps=4",
        "flow=abc123",
        "--back_translation_checkpoint",
        "model: MSE along the DTW path for 5 clips",
        "mean_pose: sync metrics leave out 7 clips",
        "text 0.0100, sampling 0.0200, decoding 0.2500; together 0.2800",
    ):
        assert part in table


def test_figures_say_on_how_many_clips_they_stand_where_these_are_not_all():
    rows = {name: make_row(recognition_clips=5, text_clips=7, diversity_clips=2, compared_clips=7) for name in ROWS}
    rows["nearest_text"]["compared_clips"] = 5
    rows["model"]["motion_clips"] = 4
    table = format_table(make_report(**rows))
    assert "all rows: recognition uses 5 clips: those with a text" in table
    assert "all rows: clips that share their text with another, which diversity uses: 2" in table
    assert "model: motion_ratio uses 4 clips; the others" in table
    assert "nearest_text: metrics use 5 clips; the others have nothing to compare" in table
    assert "BLEU, ROUGE-L, chrF and WER use" not in table


@pytest.mark.parametrize(("bleu", "told"), [(0.03, True), (0.5, False), (None, False)])
def test_a_back_translator_that_cannot_read_the_real_clips_is_told(bleu: float | None, told: bool):
    table = format_table(make_report(model=make_row(), reference=make_row(bleu1=bleu)))
    assert ("the back-translator reads the real clips with a BLEU-1 of 0.03" in table) == told


def test_a_length_taken_from_the_reference_is_said():
    report = build_report(ReportHead(split="dev", num_clips=1, length_source="oracle"), {"model": make_row()})
    assert "--oracle_length" in format_table(report)
    assert "latency" not in report["model"]


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="unknown rows"):
        build_report(ReportHead(split="dev", num_clips=1, length_source="oracle"), {"modle": make_row()})


def test_what_was_not_measured_takes_no_line_and_a_back_translator_is_named():
    row = {name: value for name, value in make_row().items() if not name.startswith("frechet")}
    head = ReportHead(split="dev", num_clips=1, length_source="given", checkpoints={"back_translation": "fed987"})
    table = format_table(build_report(head, {"model": row, "reference": {**row, "wer": None}}))
    assert "frechet" not in table
    assert next(line for line in table.splitlines() if line.startswith("  wer ")).split()[-1] == "-"
    assert "back_translation=fed987" in table
    assert "warning" not in table


def test_the_values_of_clips_come_back_and_latents_are_kept_of_the_model_alone(tmp_path):
    references = [Reference(np.zeros((1, 214)), np.ones((1, 214), bool), name, "a") for name in ("x", "ü")]
    values = {"dtw": np.array([1.0, np.nan]), "latents": np.ones((5, 3))}
    path = write_clips(tmp_path, "dev", references, {"model": values, "reference": values})
    ids, rows = read_clips(path)
    assert (path.name, ids) == ("clips_dev.npz", ["x", "ü"])
    np.testing.assert_array_equal(rows["model"]["dtw"], values["dtw"])
    assert (rows["model"].keys(), rows["reference"].keys()) == ({"dtw", "latents"}, {"dtw"})
    for content in (b"", path.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="run evaluate"):
            read_clips(path)
    with pytest.raises(UserError, match="no such file"):
        read_clips(tmp_path / "none.npz")
