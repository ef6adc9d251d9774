"""A stopped run goes on as what it was: other settings are named, and cuts anywhere change nothing."""

import json
from pathlib import Path

import commands
import pytest
from conftest import write_letters
from test_training import KIND

from checkpoints import load_checkpoint, save_checkpoint


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# ---- what a run was made with ----------------------------------------------------------------------------------------

OTHERWISE = {
    ("autoencoder", "--kl_weight 0.5"): "--kl_weight is 0.5, was ",
    ("autoencoder", "--seed 3"): "--seed is 3, was 0",
    ("autoencoder", "--batch_size 4"): "--batch_size is 4, was 8",
    ("autoencoder", "--gradient_accumulation_steps 2"): "--gradient_accumulation_steps is 2, was 1",
    ("autoencoder", "--max_seq_len 30"): "--max_seq_len is 30, was 40",
    ("autoencoder", "--augmentation 1"): "--augmentation is 1.0, was 0.0",
    (
        "autoencoder",
        "--ema_decay 0.5 --max_grad_norm 2",
    ): "--ema_decay is 0.5, was 0.999, --max_grad_norm is 2.0, was 1",
    ("student", "--num_teacher_steps 8"): "--num_teacher_steps is 8, was 6",
    ("student", "--trajectories_per_clip 1"): "--trajectories_per_clip is 1, was 2",
    ("flow", "--long_clips crop"): "--long_clips is crop, was resample",
}


@pytest.mark.parametrize(("name", "flags"), OTHERWISE)
def test_a_run_that_was_made_otherwise_is_refused_by_name(name, flags, trained, data_dir, tmp_path, capsys):
    last = getattr(trained, name).with_name("last.pt")
    paths = {"D": data_dir, "O": tmp_path / "run", "A": trained.autoencoder, "F": trained.flow}
    with pytest.raises(SystemExit) as stop:
        commands.call(name, f"{flags} --resume_from {last}", **paths)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert f"{last}: the run was made otherwise ({OTHERWISE[name, flags]}" in said
    assert said.endswith("resume it as it was, or pass --override\n")
    assert list((tmp_path / "run").iterdir()) == []


def test_what_only_says_how_far_and_how_fast_may_change(trained, data_dir, tmp_path):
    free = (
        "--learning_rate 1e-5 --weight_decay 0.1 --num_epochs 3 --num_workers 2 --early_stopping_patience 9 --skip_bad"
    )
    last = trained.autoencoder.with_name("last.pt")
    commands.call("autoencoder", f"{free} --resume_from {last}", D=data_dir, O=tmp_path)
    assert "changed" not in records(tmp_path)[0]


def test_override_goes_on_and_the_log_says_what_changed(trained, data_dir, tmp_path, capsys):
    last = trained.autoencoder.with_name("last.pt")
    more = "--seed 3 --batch_size 4 --num_epochs 4"
    commands.call("autoencoder", f"{more} --override --resume_from {last}", D=data_dir, O=tmp_path)
    assert "goes on otherwise than it was made: --batch_size is 4, was 8, --seed is 3, was 0" in capsys.readouterr().out
    assert [record.get("changed") for record in records(tmp_path)] == [
        {"batch_size": [8, 4], "seed": [0, 3]},
        None,
        None,
    ]
    commands.call("autoencoder", f"{more} --resume_from auto", D=data_dir, O=tmp_path)  # that is how it is made now


def test_other_data_and_another_teacher_are_named(trained, bert, data_dir, tmp_path, capsys):
    data = write_letters(tmp_path / "data")
    commands.call("data_preparation", D=data)
    lines = (data / "dev.txt").read_text().splitlines()
    (data / "dev.txt").write_text("\n".join([*lines[:-1], f"{lines[-1]} again"]))
    last = trained.autoencoder.with_name("last.pt")
    paths = {"O": tmp_path / "run", "A": trained.autoencoder}
    with pytest.raises(SystemExit):
        commands.call("autoencoder", f"--resume_from {last}", D=data, **paths)
    assert "made otherwise (the clips or texts of train or dev are others)" in capsys.readouterr().err
    commands.call("flow", "--num_epochs 1", D=data_dir, O=tmp_path / "flow", A=trained.autoencoder)
    last = trained.student.with_name("last.pt")
    with pytest.raises(SystemExit):
        commands.call("student", f"--resume_from {last}", D=data_dir, F=tmp_path / "flow" / "best_model.pt", **paths)
    assert "made otherwise (the teacher is another)" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_says_nothing_of_it_and_goes_on(trained, data_dir, tmp_path):
    content = load_checkpoint(trained.autoencoder.with_name("last.pt"), KIND)
    del content["training"]["made_with"]
    save_checkpoint(tmp_path / "old" / "last.pt", content)
    commands.call("autoencoder", f"--seed 3 --num_epochs 3 --resume_from {tmp_path / 'old'}", D=data_dir, O=tmp_path)
    content["training"]["made_with"] = [1]
    save_checkpoint(tmp_path / "bad" / "last.pt", content)
    with pytest.raises(SystemExit):
        commands.call("autoencoder", f"--resume_from {tmp_path / 'bad'}", D=data_dir, O=tmp_path / "new")
