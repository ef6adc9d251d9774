"""The folder of a run: what is in it is never lost, and never of two runs at once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import commands
import pytest
from test_training import KIND, same, train_toy

from checkpoints import load_checkpoint
from runtime.claims import claimed
from runtime.errors import UserError
from training.engine import prepare_run
from training.settings import TrainSettings


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def epochs(folder: Path) -> list[int]:
    records = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [record["epoch"] for record in records if "train" in record]


# ---- a run that is there already -------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["best_model.pt", "last.pt", "log.jsonl"])
def test_a_folder_with_a_run_is_refused_before_any_work_and_left_as_it_is(left: str, statistics, tmp_path: Path):
    train_toy(tmp_path, statistics)
    for name in {"best_model.pt", "last.pt", "log.jsonl"} - {left}:
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    says = rf"holds a run already \({left}\); resume it \(--resume_from auto\), replace it \(--overwrite\), or "
    with pytest.raises(UserError, match=says):
        prepare_run(TrainSettings(str(tmp_path)), 32)
    with pytest.raises(UserError, match=says):
        train_toy(tmp_path, statistics)
    assert contents(tmp_path) == before


def test_a_run_elsewhere_is_not_resumed_over_another(statistics, tmp_path: Path):
    for name in "ab":
        train_toy(tmp_path / name, statistics)
    with pytest.raises(UserError, match="holds a run already"):
        train_toy(tmp_path / "b", statistics, num_epochs=3, resume_from=str(tmp_path / "a"))


@pytest.mark.parametrize(("name", "read"), [("flow", "autoencoder"), ("student", "flow")])
def test_overwrite_never_replaces_a_checkpoint_that_the_run_reads(name, read, trained, data_dir, capsys):
    folder = getattr(trained, read).parent
    before = contents(folder)
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow, "O": folder}
    with pytest.raises(SystemExit) as stop:
        commands.call(name, "--overwrite", **paths)
    assert stop.value.code == 2
    assert "which this run reads; choose another folder" in capsys.readouterr().err
    assert contents(folder) == before


def test_overwrite_leaves_nothing_of_the_run_before(statistics, tmp_path: Path):
    train_toy(tmp_path / "a", statistics, num_epochs=4)
    (tmp_path / "a" / "notes.txt").write_text("mine")
    again = train_toy(tmp_path / "a", statistics, overwrite=True)
    assert same(again, train_toy(tmp_path / "b", statistics))
    assert epochs(tmp_path / "a") == [1, 2]
    assert len(list((tmp_path / "a" / "tensorboard").iterdir())) == 1
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="give one of them"):
        prepare_run(TrainSettings(str(tmp_path), overwrite=True, resume_from="auto"), 32)


def test_auto_goes_on_where_there_is_a_run_and_begins_where_there_is_none(statistics, tmp_path: Path):
    whole = train_toy(tmp_path / "whole", statistics, num_epochs=3, warmup_steps=1)
    for _ in range(3):  # the second and third time there is nothing left to do
        requeued = train_toy(tmp_path / "a", statistics, num_epochs=3, warmup_steps=1, resume_from="auto")
        assert same(requeued, whole)


@pytest.mark.parametrize("written", [["log.jsonl"], ["log.jsonl", "best_model.pt"]])
def test_auto_begins_again_where_a_run_was_killed_in_its_first_epoch(written: list[str], statistics, tmp_path: Path):
    whole = train_toy(tmp_path, statistics)
    log = (tmp_path / "log.jsonl").read_text().splitlines(keepends=True)
    for name in {"last.pt", "best_model.pt"} - set(written):
        (tmp_path / name).unlink()
    (tmp_path / "log.jsonl").write_text(log[0])
    assert same(train_toy(tmp_path, statistics, resume_from="auto"), whole)
    assert epochs(tmp_path) == [1, 2]


def test_auto_does_not_replace_a_model_whose_last_checkpoint_was_removed(statistics, tmp_path: Path):
    train_toy(tmp_path, statistics)
    (tmp_path / "last.pt").unlink()
    with pytest.raises(UserError, match=r"no last\.pt to resume from, but best_model\.pt"):
        train_toy(tmp_path, statistics, resume_from="auto")
    assert load_checkpoint(tmp_path / "best_model.pt", KIND)["epoch"] == 2


# ---- two runs at once ------------------------------------------------------------------------------------------------

HOLD = """import os, pathlib, sys, time
from runtime.claims import claimed
with claimed(pathlib.Path(sys.argv[1])):
    if os.fork():
        print("holds", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds tmp_path/run, and has a child that outlives it."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(words, cwd=commands.ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "holds\n"
    yield process
    os.killpg(process.pid, 9)
    process.wait()


def test_a_second_run_is_refused_while_the_first_lives_and_not_when_it_was_killed(holder, statistics, tmp_path: Path):
    for first_call in (
        lambda: prepare_run(TrainSettings(str(tmp_path / "run")), 32),
        lambda: train_toy(tmp_path / "run", statistics),
    ):
        with pytest.raises(UserError, match=rf"run: in use by process {holder.pid} on .*; wait for it, stop it"):
            first_call()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".claim"]
    holder.kill()
    holder.wait()
    train_toy(tmp_path / "run", statistics)
    assert not (tmp_path / "run" / ".claim").exists()


def test_an_ablation_is_refused_while_another_is_at_work(holder, data_dir, tmp_path: Path):
    words = ["run_ablation.py", "--data_dir", str(data_dir), "--output_dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, *words], cwd=commands.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "run: in use by process" in done.stderr


def test_a_claim_ends_with_its_block_whatever_happens_in_it(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), claimed(tmp_path / "new"):
            raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]
