"""A stopped run resumes as what it was: other settings are named, and cuts anywhere change nothing."""

import json
import math
import signal
import struct
import zipfile
from pathlib import Path

import commands
import pytest
import torch
from conftest import write_letters
from test_training import KIND, same, toy_loss, train_toy

from checkpoints import load_checkpoint, save_checkpoint
from runtime.errors import UserError
from training import engine


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
    said = commands.refusal(capsys, lambda: commands.call(name, f"{flags} --resume_from {last}", **paths))
    assert f"{last}: the run was started with other settings ({OTHERWISE[name, flags]}" in said
    assert said.endswith("restore them, or pass --override\n")
    assert list((tmp_path / "run").iterdir()) == []


def test_what_says_how_far_and_how_fast_may_change_and_the_log_names_it(trained, data_dir, tmp_path, capsys):
    free = (
        "--learning_rate 1e-5 --weight_decay 0.1 --num_epochs 3 --num_workers 2 --early_stopping_patience 9 --skip_bad"
    )
    last = trained.autoencoder.with_name("last.pt")
    commands.call("autoencoder", f"{free} --resume_from {last}", D=data_dir, O=tmp_path)
    named = {"learning_rate", "weight_decay", "num_epochs", "early_stopping_patience"}
    assert records(tmp_path)[0]["changed"].keys() == named
    assert ", --learning_rate is 1e-05, was 0.001, --num_epochs is 3, was 2, " in capsys.readouterr().out


@pytest.mark.parametrize("part", [0.5, 0.99])
def test_a_changed_byte_in_what_a_run_goes_on_with_is_named(part: float, trained, data_dir, tmp_path, capsys):
    """Of the raw weights and the optimizer's moments, too, which no fingerprint covers."""
    damaged = tmp_path / "last.pt"
    content = bytearray(trained.autoencoder.with_name("last.pt").read_bytes())
    with zipfile.ZipFile(trained.autoencoder.with_name("last.pt")) as archive:
        tensors = [entry for entry in archive.infolist() if "/data/" in entry.filename]
    entry = tensors[int(part * len(tensors))]
    name, extra = struct.unpack_from("<HH", content, entry.header_offset + 26)  # lengths of what precedes its bytes
    content[entry.header_offset + 30 + name + extra + entry.file_size // 2] ^= 1
    damaged.write_bytes(content)
    more = f"--num_epochs 3 --resume_from {damaged}"
    said = commands.one_sentence(capsys, lambda: commands.call("autoencoder", more, D=data_dir, O=tmp_path / "run"))
    assert f"{damaged}: damaged ({entry.filename}); copy it again" in said


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--ssm_prior_type mamba", "--ssm_prior_type mamba contradicts simple in "),
        ("--scratch_dim 64", "--scratch_dim 64 contradicts 32 in "),
        ("--scratch_layers 2", "--scratch_layers 2 contradicts 1 in "),
        ("--vocab_size 40", "--vocab_size 40 contradicts 8000 in "),
        ("--dropout 0.3", "--dropout 0.3 contradicts 0.1 in "),
    ],
)
def test_another_network_is_refused_by_its_flag(flags: str, reason: str, trained, data_dir, tmp_path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "run"}
    more = f"{flags} --resume_from {trained.flow.with_name('last.pt')}"
    assert reason in commands.one_sentence(capsys, lambda: commands.call("flow", more, **paths))


def test_a_switch_that_differs_is_named_as_on_or_off(trained, data_dir, tmp_path, capsys):
    last = trained.autoencoder.with_name("last.pt")
    more = f"--no-presence --resume_from {last}"
    said = commands.one_sentence(capsys, lambda: commands.call("autoencoder", more, D=data_dir, O=tmp_path))
    assert said.endswith(f"--presence off contradicts on in {last}, with which the run began; switch it on")


@pytest.mark.parametrize("key", ["tokenizer", "name"])
def test_another_text_encoder_is_refused(key: str, trained, data_dir, tmp_path, capsys):
    """One that learnt its subwords on other texts, and a pretrained one."""
    content = torch.load(trained.flow.with_name("last.pt"), weights_only=True)
    scratch = content["text_encoder"]["scratch"]
    content["text_encoder"] = {"name": "x"} if key == "name" else {"scratch": scratch | {"tokenizer": "{}"}}
    torch.save(content, tmp_path / "last.pt")
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "run"}
    more = f"--resume_from {tmp_path / 'last.pt'}"
    said = commands.one_sentence(capsys, lambda: commands.call("flow", more, **paths))
    assert "last.pt: trained with another text encoder, or on other texts from scratch" in said


def test_override_goes_on_and_the_log_says_what_changed(trained, data_dir, tmp_path, capsys):
    last = trained.autoencoder.with_name("last.pt")
    more = "--seed 3 --batch_size 4 --num_epochs 4"
    commands.call("autoencoder", f"{more} --override --resume_from {last}", D=data_dir, O=tmp_path)
    assert (
        "resuming with changed settings: --batch_size is 4, was 8, --num_epochs is 4, was 2, --seed is 3, was 0"
        in capsys.readouterr().out
    )
    assert [record.get("changed") for record in records(tmp_path)] == [
        {"batch_size": [8, 4], "num_epochs": [2, 4], "seed": [0, 3]},
        None,
        None,
    ]
    commands.call("autoencoder", f"{more} --resume_from auto", D=data_dir, O=tmp_path)  # that is how it is made now


@pytest.mark.parametrize(("setting", "best_epoch"), [("face_weight", 4), ("data", 4), ("batch_size", 2)])
def test_dev_losses_of_another_scale_are_not_compared(setting, best_epoch, statistics, tmp_path, monkeypatch, capsys):
    """Else no epoch after --override seems better, and best_model.pt stays of what was changed."""
    dev = iter([5.0, 3.0, 3.0, 9.0, 8.0, 8.0])  # two epochs and test, twice
    monkeypatch.setattr(engine, "evaluate_loss", lambda *_: {"loss": next(dev)})
    train_toy(tmp_path, statistics, made_with={setting: "1"})
    more = {"num_epochs": 4, "resume_from": "auto", "override": True}
    train_toy(tmp_path, statistics, made_with={setting: "2"}, **more)
    assert load_checkpoint(tmp_path / "best_model.pt", KIND)["epoch"] == best_epoch
    assert ("dev losses before this change are of another scale" in capsys.readouterr().out) == (best_epoch == 4)


def test_the_noise_of_a_run_of_before_is_known_from_its_flags(trained, data_dir, tmp_path, capsys):
    """It was no part of the configuration: going on without it would be another run."""
    content = torch.load(trained.autoencoder.with_name("last.pt"), weights_only=True)
    del content["config"]["latent_noise"], content["config"]["motion_kept"]
    content["training"]["made_with"]["latent_noise"] = 0.05
    torch.save(content, tmp_path / "last.pt")
    more = f"--num_epochs 3 --resume_from {tmp_path / 'last.pt'}"
    said = commands.one_sentence(capsys, lambda: commands.call("autoencoder", more, D=data_dir, O=tmp_path))
    assert "--latent_noise 0.0 contradicts 0.05 in" in said
    commands.call("autoencoder", f"{more} --latent_noise 0.05", D=data_dir, O=tmp_path)


def test_a_run_without_the_noise_does_not_go_on_with_it(trained, data_dir, tmp_path, capsys):
    more = f"--motion_kept 0.9 --resume_from {trained.autoencoder.with_name('last.pt')}"
    said = commands.one_sentence(capsys, lambda: commands.call("autoencoder", more, D=data_dir, O=tmp_path))
    assert "--motion_kept 0.9 contradicts 1.0 in" in said


def test_a_flow_of_before_goes_on_with_the_guidance_that_it_began_with(trained, data_dir, tmp_path, capsys):
    """Its command had no --guidance_start to leave out."""
    content = torch.load(trained.flow.with_name("last.pt"), weights_only=True)
    assert content["config"].pop("guidance_start") == 0.2
    torch.save(content, tmp_path / "last.pt")
    last, paths = tmp_path / "last.pt", {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "run"}
    more = f"--num_epochs 3 --resume_from {last}"
    said = commands.one_sentence(capsys, lambda: commands.call("flow", more, **paths))
    assert said.endswith(f"--guidance_start 0.2 contradicts 0.0 in {last}, with which the run began; pass that")
    commands.call("flow", f"{more} --guidance_start 0", **paths)
    assert load_checkpoint(tmp_path / "run" / "last.pt", "flow")["config"]["guidance_start"] == 0


def test_an_autoencoder_of_before_goes_on_without_the_weight_of_the_face_alone(trained, data_dir, tmp_path, capsys):
    content = torch.load(trained.autoencoder.with_name("last.pt"), weights_only=True)
    assert content["training"]["made_with"].pop("face_weight") > 0
    torch.save(content, tmp_path / "last.pt")
    more = f"--num_epochs 3 --resume_from {tmp_path / 'last.pt'}"
    said = commands.one_sentence(capsys, lambda: commands.call("autoencoder", more, D=data_dir, O=tmp_path))
    assert "--face_weight is 0.3, was 0.0" in said
    commands.call("autoencoder", f"{more} --face_weight 0", D=data_dir, O=tmp_path)


def test_a_flow_that_an_earlier_version_guided_otherwise_begins_again(trained, data_dir, tmp_path, capsys):
    """Its sync head learnt another motion. A flow without one is no different."""
    content = torch.load(trained.flow.with_name("last.pt"), weights_only=True)
    assert content["config"].pop("use_sync_guidance")
    assert content["config"].pop("sync_pulls_lag") is False
    torch.save(content, tmp_path / "plain.pt")
    assert load_checkpoint(tmp_path / "plain.pt", "flow")["config"]["sync_pulls_lag"] is False
    content["config"]["use_sync_guidance"] = True
    torch.save(content, tmp_path / "last.pt")
    more = f"--num_epochs 3 --resume_from {tmp_path / 'last.pt'}"
    paths = {"D": data_dir, "O": tmp_path / "run", "A": trained.autoencoder}
    said = commands.one_sentence(capsys, lambda: commands.call("flow", more, **paths))
    assert "a version that guided otherwise (sync_pulls_lag True) began this run; begin again" in said


def test_a_student_of_before_goes_on_without_joined_texts_alone(trained, data_dir, tmp_path, capsys):
    content = torch.load(trained.student.with_name("last.pt"), weights_only=True)
    assert content["training"]["made_with"].pop("joined_texts") == 0.5
    torch.save(content, tmp_path / "last.pt")
    paths = {"D": data_dir, "O": tmp_path / "run", **trained.paths}
    more = f"--num_epochs 3 --resume_from {tmp_path / 'last.pt'}"
    said = commands.one_sentence(capsys, lambda: commands.call("student", more, **paths))
    assert "--joined_texts is 0.5, was 0.0" in said
    commands.call("student", f"{more} --joined_texts 0", **paths)


def test_other_data_and_another_teacher_are_named(trained, bert, data_dir, tmp_path, capsys):
    data = write_letters(tmp_path / "data")
    commands.call("data_preparation", D=data)
    lines = (data / "dev.txt").read_text().splitlines()
    (data / "dev.txt").write_text("\n".join([*lines[:-1], f"{lines[-1]} again"]))
    last = trained.autoencoder.with_name("last.pt")
    paths = {"O": tmp_path / "run", "A": trained.autoencoder}
    with pytest.raises(SystemExit):
        commands.call("autoencoder", f"--resume_from {last}", D=data, **paths)
    assert "started with other settings (the clips or texts of train or dev differ)" in capsys.readouterr().err
    commands.call("flow", "--num_epochs 1", D=data_dir, O=tmp_path / "flow", A=trained.autoencoder)
    last = trained.student.with_name("last.pt")
    with pytest.raises(SystemExit):
        commands.call("student", f"--resume_from {last}", D=data_dir, F=tmp_path / "flow" / "best_model.pt", **paths)
    assert "started with other settings (the teacher differs)" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_says_nothing_of_it_and_goes_on(trained, data_dir, tmp_path):
    content = load_checkpoint(trained.autoencoder.with_name("last.pt"), KIND)
    del content["training"]["made_with"]
    save_checkpoint(tmp_path / "old" / "last.pt", content)
    commands.call("autoencoder", f"--seed 3 --num_epochs 3 --resume_from {tmp_path / 'old'}", D=data_dir, O=tmp_path)
    content["training"]["made_with"] = [1]
    save_checkpoint(tmp_path / "bad" / "last.pt", content)
    with pytest.raises(SystemExit):
        commands.call("autoencoder", f"--resume_from {tmp_path / 'bad'}", D=data_dir, O=tmp_path / "new")


# ---- cuts in the middle of an epoch ----------------------------------------------------------------------------------

CUT = "--num_epochs 3 --dropout 0.2 --gradient_accumulation_steps 2 --batch_size 1"  # 12 batches, then 2 of dev
JOINED = "--joined_clips 0.6 --max_seq_len 240"


def stop_at(call: int, name: str, patch: pytest.MonkeyPatch) -> None:
    """Let a signal arrive in the middle of the batch of that number, those of dev included."""
    forward, calls = engine.Objective.forward, iter(range(1, 10**6))

    def signalled(self, *args):
        if next(calls) == call:
            signal.raise_signal(getattr(signal, name))
        return forward(self, *args)

    patch.setattr(engine.Objective, "forward", signalled)


def run_with_cuts(name: str, more: str, cuts: list[tuple[int, str]], folder: Path, **paths: Path) -> int:
    """The same command again and again, each time stopped at its next cut, then to its end; returns the stops."""
    for number, (call, signal_name) in enumerate(cuts):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(call, signal_name, patch)
            with pytest.raises(SystemExit) as stop:
                commands.call(name, f"{more} --resume_from auto --num_workers {number % 2}", O=folder, **paths)
            assert stop.value.code == 75
    commands.call(name, f"{more} --resume_from auto", O=folder, **paths)
    return len(cuts)


def assert_equal_runs(one: Path, other: Path, kind: str) -> None:
    for file in ("last.pt", "best_model.pt"):
        assert same(load_checkpoint(one / file, kind), load_checkpoint(other / file, kind)), file
    kept = ("epoch", "step", "train", "dev", "test", "learning_rate", "grad_norm", "skipped_steps")
    logs = [[{key: record.get(key) for key in kept} for record in records(folder)] for folder in (one, other)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(("name", "more"), [("autoencoder", f"{CUT} --motion_kept 0.9"), ("flow", f"{CUT} {JOINED}")])
def test_a_run_cut_anywhere_equals_one_in_one_go_to_the_last_bit(name, more, data_dir, trained, tmp_path):
    """In the first step, within a step, twice in one, within dev, at its end, in the next epoch; 0 or 1 workers."""
    paths = {"D": data_dir, "A": trained.autoencoder}
    commands.call(name, more, O=tmp_path / "whole", **paths)
    calls = (1, 4, 2, 11, 2, 13, 1, 5)
    cuts = list(zip(calls, ("SIGTERM", "SIGUSR1", "SIGINT") * 3, strict=False))
    run_with_cuts(name, more, cuts, tmp_path / "cut", **paths)
    assert_equal_runs(tmp_path / "whole", tmp_path / "cut", name)


def test_every_other_stage_goes_on_within_an_epoch_too(data_dir, trained, bert, tmp_path, monkeypatch):
    monkeypatch.setitem(commands.COMMANDS, "reader", "train_pose_to_text.py --data_dir D --output_dir O")
    monkeypatch.setitem(commands.SMALL, "reader", f"{commands.TRAINING} --hidden_dim 32 --num_heads 4 --dropout 0.1")
    kinds = {"predictor": "predictor", "prior": "prior", "student": "student", "reader": "pose_to_text"}
    for name, kind in kinds.items():
        paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow}
        more = "--batch_size 4" + (f" --text_encoder {bert} {JOINED}" if name == "predictor" else "")
        commands.call(name, more, O=tmp_path / name / "whole", **paths)
        run_with_cuts(name, more, [(2, "SIGTERM"), (1, "SIGUSR1"), (5, "SIGTERM")], tmp_path / name / "cut", **paths)
        assert_equal_runs(tmp_path / name / "whole", tmp_path / name / "cut", kind)


def test_a_killed_run_goes_on_from_what_was_written_within_the_epoch(data_dir, tmp_path, monkeypatch):
    commands.call("autoencoder", CUT, D=data_dir, O=tmp_path / "whole")
    monkeypatch.setattr(engine, "update_ema", killed_after(4, engine.update_ema))
    with pytest.raises(Killed):
        commands.call("autoencoder", f"{CUT} --save_every_minutes 1e-9", D=data_dir, O=tmp_path / "cut")
    monkeypatch.undo()
    under_way = load_checkpoint(tmp_path / "cut" / "last.pt", KIND)["training"]["under_way"]
    assert under_way["batches"] == 8  # the fifth step was under way
    commands.call("autoencoder", f"{CUT} --resume_from auto", D=data_dir, O=tmp_path / "cut")
    assert_equal_runs(tmp_path / "whole", tmp_path / "cut", KIND)


@pytest.mark.parametrize(("again", "lost"), [("auto", []), ("the same", []), ("the same", ["last.pt"])])
def test_a_run_killed_in_its_first_epoch_in_another_folder_goes_on(again, lost, statistics, tmp_path, monkeypatch):
    """By --resume_from auto, and by the command that began it; lost: what the kill did not let it copy."""
    train_toy(tmp_path / "a", statistics, num_epochs=2)
    more = {"num_epochs": 4, "resume_from": str(tmp_path / "a")}
    whole = train_toy(tmp_path / "whole", statistics, **more)
    monkeypatch.setattr(engine, "update_ema", killed_after(2, engine.update_ema))
    with pytest.raises(Killed):
        train_toy(tmp_path / "b", statistics, **more)
    monkeypatch.undo()
    for name in lost:
        (tmp_path / "b" / name).unlink()
    more |= {"resume_from": "auto"} if again == "auto" else {}
    assert same(train_toy(tmp_path / "b", statistics, **more), whole)
    assert [record["epoch"] for record in records(tmp_path / "b") if "train" in record] == [3, 4]


class Killed(BaseException):
    """What ends a run without a chance to write."""


def killed_after(steps: int, function):
    calls = iter(range(1, 10**6))

    def until(*args):
        if next(calls) > steps:
            raise Killed
        return function(*args)

    return until


def test_a_stop_says_what_to_do_and_a_second_ctrl_c_does_not_wait(data_dir, tmp_path, monkeypatch, capfd):
    stop_at(3, "SIGTERM", monkeypatch)
    with pytest.raises(SystemExit, match="75"):
        commands.call("autoencoder", CUT, D=data_dir, O=tmp_path)
    said = capfd.readouterr().err.splitlines()[-1]
    kept = f"{tmp_path}/last.pt holds the progress so far"
    assert said == f"stopped by SIGTERM; {kept}; the same command with --resume_from auto resumes the run"
    monkeypatch.undo()
    stop_at(3, "SIGINT", monkeypatch)
    stop_at(3, "SIGINT", monkeypatch)
    with pytest.raises(SystemExit, match="130"):
        commands.call("autoencoder", f"{CUT} --overwrite", D=data_dir, O=tmp_path)
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("stopped by the user; ")
    assert said.endswith("the same command with --resume_from auto resumes the run")


def test_a_run_that_is_stopped_in_its_test_is_whole(data_dir, tmp_path, monkeypatch, capsys):
    stop_at(12 + 2 + 12 + 2 + 1, "SIGTERM", monkeypatch)  # two epochs of 12 batches and 2 of dev, then test
    more = "--batch_size 1"
    with pytest.raises(SystemExit, match="75"):
        commands.call("autoencoder", more, D=data_dir, O=tmp_path)
    assert "under_way" not in load_checkpoint(tmp_path / "last.pt", KIND)["training"]
    monkeypatch.undo()
    flags = (tmp_path / "config.json").read_text()
    commands.call("autoencoder", f"{more} --learning_rate 1 --resume_from auto", D=data_dir, O=tmp_path)
    assert (tmp_path / "config.json").read_text() == flags  # of the call that made the weights
    assert [("train" in record, "test" in record) for record in records(tmp_path)] == [(1, 0), (1, 0), (0, 1)]
    assert "no epoch is left after 2" in capsys.readouterr().out


def test_a_finished_run_without_its_best_model_asks_for_it(data_dir, tmp_path, capsys):
    commands.call("autoencoder", "--num_epochs 1", D=data_dir, O=tmp_path)
    (tmp_path / "best_model.pt").unlink()
    with pytest.raises(SystemExit, match="2"):
        commands.call("autoencoder", "--num_epochs 1 --resume_from auto", D=data_dir, O=tmp_path)
    assert "no epoch is left, and best_model.pt is not beside it; put it there, or" in capsys.readouterr().err


def test_signals_are_the_scripts_own_again_after_training(statistics, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    train_toy(tmp_path, statistics)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


@pytest.mark.parametrize("under_way", [[], {}, {"batches": -1}, {"sums": {"loss": "x"}}, {"clips": 1.5}], ids=str)
def test_a_damaged_state_of_an_epoch_is_refused(under_way, data_dir, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        stop_at(3, "SIGTERM", patch)
        with pytest.raises(SystemExit, match="75"):
            commands.call("autoencoder", CUT, D=data_dir, O=tmp_path)
    content = load_checkpoint(tmp_path / "last.pt", KIND)
    whole = content["training"]["under_way"]
    content["training"]["under_way"] = {**whole, **under_way} if under_way else under_way
    save_checkpoint(tmp_path / "last.pt", content)
    with pytest.raises(SystemExit, match="2"):
        commands.call("autoencoder", f"{CUT} --resume_from auto", D=data_dir, O=tmp_path)
    assert "damaged" in capsys.readouterr().err


# ---- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_has_each_epoch_once_where_a_kill_came_between_its_line_and_the_checkpoint(statistics, tmp_path):
    whole = train_toy(tmp_path / "a", statistics, num_epochs=3)
    train_toy(tmp_path / "b", statistics, num_epochs=3)
    train_toy(tmp_path / "c", statistics, num_epochs=2)
    lines = (tmp_path / "b" / "log.jsonl").read_text().splitlines()
    (tmp_path / "c" / "log.jsonl").write_text("\n".join([*lines[:3], lines[3][:9]]))  # a third line, and a torn one
    again = train_toy(tmp_path / "c", statistics, num_epochs=3, resume_from="auto")
    assert [record["epoch"] for record in records(tmp_path / "c")] == [1, 2, 3, 3]
    assert again["epoch"] == whole["epoch"]


# ---- numbers that explode --------------------------------------------------------------------------------------------


def failing(calls: set[int], how: str):
    """A loss that is not finite, or whose gradient is not, in the train batches of these numbers."""
    numbers = iter(range(1, 10**6))

    def loss(model, batch, draws):
        losses = toy_loss(model, batch, draws)
        if model.training and next(numbers) in calls:
            if how == "loss":
                losses["loss"] = losses["loss"] * math.nan
            else:  # the root of zero is zero, and its slope infinite
                losses["loss"] = losses["loss"] + (0 * losses["loss"]).sqrt()
        return losses

    return loss


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(how, statistics, tmp_path, monkeypatch):
    monkeypatch.setattr("test_training.toy_loss", failing({2, 3, 7}, how))
    last = train_toy(tmp_path, statistics, num_epochs=2)  # 4 steps an epoch
    assert [record.get("skipped_steps") for record in records(tmp_path)] == [2, 1, None]
    assert last["training"]["step"] == last["training"]["schedule"]["last_epoch"] == 5
    assert all(math.isfinite(record["train"]["loss"]) and record["grad_norm"] > 0 for record in records(tmp_path)[:2])


def test_a_skipped_step_leaves_weights_and_average_as_they_were(statistics, tmp_path, monkeypatch):
    one = train_toy(tmp_path / "a", statistics, num_epochs=1)
    monkeypatch.setattr("test_training.toy_loss", failing({5, 6, 7}, "loss"))
    two = train_toy(tmp_path / "b", statistics, num_epochs=2, max_skipped_steps=9)
    monkeypatch.setattr("test_training.toy_loss", failing({5, 6, 7, 8}, "loss"))
    with pytest.raises(UserError, match="not finite in any step of epoch 2; lower --learning_rate"):
        train_toy(tmp_path / "c", statistics, num_epochs=2, max_skipped_steps=9)
    assert two["training"]["step"] == one["training"]["step"] + 1
    assert load_checkpoint(tmp_path / "c" / "last.pt", KIND)["training"]["step"] == one["training"]["step"]


def test_many_in_a_row_end_the_run_with_the_clips_and_a_state_of_before(statistics, tmp_path, monkeypatch):
    monkeypatch.setattr("test_training.toy_loss", failing(set(range(6, 99)), "loss"))
    with pytest.raises(UserError) as error:
        train_toy(tmp_path, statistics, num_epochs=4, max_skipped_steps=3)
    said = str(error.value)
    assert "was not finite in 3 steps in a row, the last in epoch 2 with the clips 12, 13, 14, 15; lower " in said
    assert f"resume from {tmp_path}/last.pt, which was written before" in said
    assert load_checkpoint(tmp_path / "last.pt", KIND)["epoch"] == 1
    monkeypatch.undo()
    last = train_toy(tmp_path, statistics, num_epochs=4, learning_rate=0.01, resume_from="auto")
    assert [record["epoch"] for record in records(tmp_path)][:4] == [1, 2, 3, 4]
    assert last["epoch"] == 4


def test_an_exploded_first_epoch_says_so_and_begins_again_with_a_lower_rate(statistics, tmp_path):
    with pytest.raises(UserError, match=r"not finite in epoch 1; lower --learning_rate .* and begin again"):
        train_toy(tmp_path, statistics, learning_rate=1e30)
    assert not [path.name for path in tmp_path.iterdir() if path.suffix in (".pt", ".jsonl")]
    train_toy(tmp_path, statistics, learning_rate=0.01)


def test_what_is_not_finite_stands_as_null_in_the_log(statistics, tmp_path, monkeypatch):
    def loss(model, batch, draws):
        return toy_loss(model, batch, draws) | {"part": torch.tensor(math.nan)}

    monkeypatch.setattr("test_training.toy_loss", loss)
    train_toy(tmp_path, statistics)
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()
    assert records(tmp_path)[0]["train"]["part"] is None
