"""The report's files and table say what was measured, and mark what must not be believed."""

import json
import pickle

import numpy as np
import pytest

from evaluation.report import COLUMNS, ROWS, build_report, format_table, write_report


def make_row(**changes: object) -> dict[str, object]:
    return {**dict.fromkeys(COLUMNS, 0.5), "motion_ratio": 1.0, "sync_undefined": 0, "mse_aligned": 0, **changes}


def make_report(**rows: dict[str, object]) -> dict[str, object]:
    return build_report(
        "test",
        7,
        {name: make_row() for name in ROWS} | rows,
        length_source="predicted",
        settings={"num_steps": 4, "seed": np.int64(3)},
        checkpoints={"flow": "abc123"},
        latency={"text": 0.01, "sampling": 0.02, "decoding": np.float32(0.25)},
    )


def test_json_and_pickle_say_the_same_with_rows_at_the_top(tmp_path):
    report = make_report(
        mean_pose=make_row(motion_ratio=0.0, sync_correlation=float("nan"), sync_lag=np.float64("nan"))
    )
    paths = write_report(tmp_path / "new", report)
    assert [path.name for path in paths] == ["metrics_test.json", "metrics_test.pkl"]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())  # no temporary file stays
    data = json.loads(paths[0].read_text(encoding="utf-8"))
    assert data == pickle.loads(paths[1].read_bytes()) == report
    assert data.keys() == {"split", "num_clips", "length_source", "settings", "checkpoints", *ROWS}
    assert (data["split"], data["num_clips"]) == ("test", 7)
    assert data["settings"] == {"num_steps": 4, "seed": 3}
    assert all(data[name].keys() >= set(COLUMNS) for name in ROWS)
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
    line = next(line for line in table.splitlines() if line.startswith("model "))
    assert line.count("*") == (0 if not marked else len(COLUMNS) - (ratio is None))
    assert ("* motion ratio outside 0.8-1.2" in table) == marked


def test_table_states_what_the_figures_were_made_with():
    table = format_table(make_report(model=make_row(mse_aligned=5), mean_pose=make_row(sync_undefined=7)))
    lines = table.splitlines()
    assert lines[0].split() == list(COLUMNS)
    assert [line.split()[0] for line in lines[1:7]] == list(ROWS)
    for part in ("7 clips of test", "predicted from the text", "num_steps=4", "flow=abc123", "back-translation model",
                 "model: MSE along the DTW path for 5 clips", "mean_pose: sync figures leave out 7 clips",
                 "text 0.0100, sampling 0.0200, decoding 0.2500; together 0.2800"):  # fmt: skip
        assert part in table


def test_a_length_taken_from_the_reference_is_said():
    report = build_report("dev", 1, {"model": make_row()}, length_source="oracle", settings={}, checkpoints={})
    assert "--oracle_length" in format_table(report)
    assert "latency" not in report["model"]


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="unknown rows"):
        build_report("dev", 1, {"modle": make_row()}, length_source="oracle", settings={}, checkpoints={})
