"""The loop that trains every stage: what it promises to resume, to write, and to leave alone."""

import json
import math
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from checkpoints import fingerprint, load_checkpoint, save_checkpoint
from dataset import make_loader
from models.whole_batch import Draws
from poses.statistics import Statistics
from runtime.errors import UserError
from training import engine
from training.engine import Stage, make_accelerator, train
from training.optimisation import update_ema
from training.settings import TrainSettings

KIND = "autoencoder"  # of the toy's checkpoints; any would do


class ToyData(torch.utils.data.Dataset):
    """Lines y = 2 x - 1 with noise, 5 points a clip."""

    def __len__(self) -> int:
        return 16

    def lengths_in(self, epoch: int) -> np.ndarray:
        return np.full(16, 5)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        x = np.random.default_rng(key[0]).normal(size=(5, 1)).astype(np.float32)
        return {"id": str(key[0]), "x": x, "y": 2 * x - 1}


def toy_loss(model: nn.Module, batch: dict, draws: Draws) -> dict[str, Tensor]:
    return {"loss": ((model(batch["x"]) - batch["y"]) ** 2).mean()}


def train_toy(
    folder: Path, statistics: Statistics, batch_size: int = 4, pictures=None, made_with: dict | None = None, **changes
) -> dict:
    """Train a line; returns last.pt's content."""
    torch.manual_seed(0)
    settings = {"num_epochs": 2, "learning_rate": 0.1, "warmup_steps": 0, "num_workers": 0, **changes}
    settings = TrainSettings(str(folder), batch_size=batch_size, **settings)
    loader = make_loader(ToyData(), batch_size, shuffle=False)
    stage = Stage(KIND, nn.Linear(1, 1), {}, toy_loss, statistics, pictures=pictures, made_with=made_with or {})
    train(make_accelerator("no"), stage, loader, loader, lambda: loader, settings)
    return load_checkpoint(folder / "last.pt", KIND)


def same(a: object, b: object) -> bool:
    """Equality to the last bit of nested plain values and tensors."""
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# ---- resuming --------------------------------------------------------------------------------------------------------


def train_in_two_parts(name: str, folder: Path, more: str, monkeypatch: pytest.MonkeyPatch, **paths: Path) -> None:
    """Start a stage, let it fail in its third epoch, and go on from last.pt."""
    epoch_of = engine.train_epoch

    def interrupted(accelerator, objective, run, *args):
        if run.progress.epoch == 3:
            raise KeyboardInterrupt
        return epoch_of(accelerator, objective, run, *args)

    monkeypatch.setattr(engine, "train_epoch", interrupted)
    with pytest.raises(SystemExit) as stop:
        commands.call(name, more, O=folder, **paths)
    assert stop.value.code == 130
    monkeypatch.undo()
    commands.call(name, f"{more} --resume_from {folder / 'last.pt'}", O=folder, **paths)


@pytest.mark.parametrize("name", ["autoencoder", "flow"])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(name, data_dir, trained, tmp_path, monkeypatch):
    more = "--num_epochs 4 --dropout 0.2 --gradient_accumulation_steps 2 --batch_size 4"
    paths = {"D": data_dir, "A": trained.autoencoder}
    commands.call(name, more, O=tmp_path / "whole", **paths)
    train_in_two_parts(name, tmp_path / "parts", more, monkeypatch, **paths)
    for file in ("last.pt", "best_model.pt"):
        whole, parts = (load_checkpoint(tmp_path / run / file, name) for run in ("whole", "parts"))
        assert same(whole, parts), file
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("whole", "parts")]
    for first, second in zip(*(map(json.loads, lines) for lines in logs), strict=True):
        assert [first.get(key) for key in ("epoch", "step", "train", "dev", "test", "learning_rate")] == [
            second.get(key) for key in ("epoch", "step", "train", "dev", "test", "learning_rate")
        ]


def test_a_run_resumed_into_another_folder_ends_with_a_best_model(statistics, tmp_path, monkeypatch):
    train_toy(tmp_path / "first", statistics)
    worse = iter([9.0, 9.0, 9.0])
    monkeypatch.setattr(engine, "evaluate_loss", lambda *_: {"loss": next(worse)})
    last = train_toy(tmp_path / "second", statistics, num_epochs=4, resume_from=str(tmp_path / "first" / "last.pt"))
    assert last["training"]["best_epoch"] == 2
    assert load_checkpoint(tmp_path / "second" / "best_model.pt", KIND)["epoch"] == 2


def test_a_run_is_resumed_from_its_folder_too(statistics, tmp_path):
    train_toy(tmp_path / "a", statistics)
    by_file, by_folder = (
        train_toy(tmp_path / name, statistics, num_epochs=3, resume_from=str(path))
        for name, path in (("b", tmp_path / "a" / "last.pt"), ("c", tmp_path / "a"))
    )
    assert by_folder["epoch"] == 3
    assert same(by_file, by_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty/last\.pt: no such file; a run leaves the last.pt"):
        train_toy(tmp_path / "d", statistics, resume_from=str(tmp_path / "empty"))


def test_checkpoints_of_before_that_hold_settings_are_resumed(statistics, tmp_path):
    new = train_toy(tmp_path / "a", statistics)
    save_checkpoint(tmp_path / "old.pt", {**new, "settings": {"output_dir": "elsewhere", "num_epochs": 2}})
    again = train_toy(tmp_path / "b", statistics, num_epochs=3, resume_from=str(tmp_path / "old.pt"))
    assert same(again, train_toy(tmp_path / "c", statistics, num_epochs=3, resume_from=str(tmp_path / "a")))


def test_the_number_of_workers_changes_nothing(data_dir, tmp_path):
    for number in (0, 2):
        commands.call("autoencoder", f"--num_workers {number}", D=data_dir, O=tmp_path / str(number))
    first, second = (load_checkpoint(tmp_path / name / "best_model.pt", KIND) for name in ("0", "2"))
    assert first["fingerprint"] == second["fingerprint"]


# ---- the loop itself -------------------------------------------------------------------------------------------------


def test_gradient_accumulation_equals_a_larger_batch(statistics, tmp_path):
    large = train_toy(tmp_path / "a", statistics, batch_size=8)
    small = train_toy(tmp_path / "b", statistics, batch_size=4, gradient_accumulation_steps=2)
    assert large["training"]["step"] == small["training"]["step"] == 4
    for name, value in large["training"]["model"].items():
        torch.testing.assert_close(value, small["training"]["model"][name])
    uneven = train_toy(tmp_path / "c", statistics, batch_size=4, gradient_accumulation_steps=3)
    assert uneven["training"]["step"] == 4  # 4 batches an epoch: a group of three, and one of the rest


def test_the_average_of_the_weights_follows_its_formula():
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    average.load_state_dict(model.state_dict())
    expected = average.weight.item()
    for step in range(1, 31):
        model.weight.data.fill_(float(step))
        update_ema(average, model, 0.6, step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert average.weight.item() == pytest.approx(expected, rel=1e-5)


def test_checkpoints_hold_the_averaged_weights_and_the_raw_ones_to_go_on_with(statistics, tmp_path):
    averaged = train_toy(tmp_path / "a", statistics, ema_decay=0.9)
    assert not same(averaged["weights"], averaged["training"]["model"])
    plain = train_toy(tmp_path / "b", statistics, ema_decay=0.0)
    assert same(plain["weights"], plain["training"]["model"])
    assert same(plain["training"]["model"], averaged["training"]["model"])


def test_a_small_data_set_is_passed_as_often_as_the_least_number_of_steps_asks(statistics, tmp_path, capsys):
    small = train_toy(tmp_path / "small", statistics, num_epochs=2, min_steps=13)  # of 4 steps an epoch
    assert "epochs: 4 instead of 2, for 13 steps (--min_steps)" in capsys.readouterr().out
    assert (small["epoch"], small["training"]["step"]) == (4, 16)
    assert same(small["weights"], train_toy(tmp_path / "same", statistics, num_epochs=4)["weights"])
    assert train_toy(tmp_path / "large", statistics, num_epochs=5, min_steps=13)["epoch"] == 5


def test_training_stops_where_dev_no_longer_gets_better(statistics, tmp_path, monkeypatch):
    dev = iter([5.0, 3.0, 4.0, 3.0, 2.0, 1.0])
    monkeypatch.setattr(engine, "evaluate_loss", lambda *_: {"loss": next(dev)})
    last = train_toy(tmp_path, statistics, num_epochs=20, early_stopping_patience=2)
    assert last["epoch"] == 4
    assert load_checkpoint(tmp_path / "best_model.pt", KIND)["epoch"] == 2


def test_a_run_that_stopped_early_trains_no_further_when_it_is_resumed(statistics, tmp_path, monkeypatch):
    dev = iter([5.0, 3.0, 4.0, 3.0, 1.5, 2.0, 1.0, 1.0])  # four epochs, test, test again; then an epoch and test
    monkeypatch.setattr(engine, "evaluate_loss", lambda *_: {"loss": next(dev)})
    flags = {"num_epochs": 5, "resume_from": str(tmp_path / "last.pt")}
    stopped = train_toy(tmp_path, statistics, num_epochs=5, early_stopping_patience=2)
    again = train_toy(tmp_path, statistics, early_stopping_patience=2, **flags)
    assert stopped["epoch"] == again["epoch"] == 4
    assert same(stopped["weights"], again["weights"])
    patient = train_toy(tmp_path, statistics, early_stopping_patience=3, **flags)
    assert patient["epoch"] == 5
    assert load_checkpoint(tmp_path / "best_model.pt", KIND)["epoch"] == 5


def test_of_epochs_with_equal_scores_the_one_of_the_least_dev_loss_is_kept(statistics, tmp_path, monkeypatch):
    dev = iter([5.0, 3.0, 4.0, 2.0, 0.0])
    scores = iter([0.5, 0.5, 0.5, 0.4])
    monkeypatch.setattr(engine, "evaluate_loss", lambda *_: {"loss": next(dev)})
    loader = make_loader(ToyData(), 4, shuffle=False)
    stage = Stage(KIND, nn.Linear(1, 1), {}, toy_loss, statistics, score=lambda *_: {"score": next(scores)})
    settings = TrainSettings(str(tmp_path), num_epochs=4)
    train(make_accelerator("no"), stage, loader, loader, lambda: loader, settings)
    assert load_checkpoint(tmp_path / "best_model.pt", KIND)["epoch"] == 2


def test_the_best_epoch_is_that_of_the_part_that_the_stage_names(statistics, tmp_path, monkeypatch):
    """A length that is learnt by heart must not decide which flow is kept."""
    dev = iter([{"loss": 5.0, "flow": 3.0}, {"loss": 6.0, "flow": 1.0}, {"loss": 4.0, "flow": 2.0}, {"loss": 0.0}])
    monkeypatch.setattr(engine, "evaluate_loss", lambda *_: next(dev))
    loader = make_loader(ToyData(), 4, shuffle=False)
    stage = Stage(KIND, nn.Linear(1, 1), {}, toy_loss, statistics, criterion="flow")
    train(make_accelerator("no"), stage, loader, loader, lambda: loader, TrainSettings(str(tmp_path), num_epochs=3))
    assert load_checkpoint(tmp_path / "best_model.pt", KIND)["epoch"] == 2


def test_test_is_read_once_after_training(statistics, tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(engine, "train_epoch", lambda *args: events.append("train") or {"loss": 1.0})
    loader = make_loader(ToyData(), 4, shuffle=False)
    stage = Stage(KIND, nn.Linear(1, 1), {}, toy_loss, statistics)
    settings = TrainSettings(str(tmp_path), num_epochs=2)
    train(make_accelerator("no"), stage, loader, loader, lambda: events.append("test") or loader, settings)
    assert events == ["train", "train", "test"]


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(statistics, tmp_path):
    kept = train_toy(tmp_path, statistics)
    with pytest.raises(UserError, match="not finite in epoch 3; lower --learning_rate"):
        train_toy(tmp_path, statistics, num_epochs=4, learning_rate=1e30, resume_from=str(tmp_path / "last.pt"))
    assert same(load_checkpoint(tmp_path / "last.pt", KIND), kept)


# ---- what a run leaves behind ----------------------------------------------------------------------------------------


def test_a_kill_while_saving_leaves_the_old_file(statistics, tmp_path, monkeypatch):
    content = train_toy(tmp_path, statistics)
    before = (tmp_path / "last.pt").read_bytes()
    files = sorted(path.name for path in tmp_path.iterdir())

    def die_half_way(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "last.pt", {"weights": content["weights"]})
    assert (tmp_path / "last.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_a_fingerprint_is_of_the_weights_alone(statistics, tmp_path):
    weights = {"a": torch.arange(3.0), "b": torch.tensor(1)}
    assert fingerprint(weights) == fingerprint({"b": torch.tensor(1), "a": torch.arange(3.0)})
    for name in weights:
        assert fingerprint({**weights, name: weights[name] + 1}) != fingerprint(weights)
    best = train_toy(tmp_path, statistics)
    assert best["fingerprint"] == fingerprint(best["weights"])


def test_every_stage_leaves_its_files(trained, data_dir):
    for name in ("autoencoder", "predictor", "flow", "student"):
        folder = getattr(trained, name).parent
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines[:2]] == [1, 2]
        for line in lines[:2]:
            assert {"step", "train", "dev", "learning_rate", "seconds", "clips_per_second"} <= line.keys()
            assert all(math.isfinite(value) for split in ("train", "dev") for value in line[split].values())
        assert len(lines) == 3
        assert math.isfinite(lines[2]["test"]["loss"])
        assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
        best, last = (load_checkpoint(folder / file, name) for file in ("best_model.pt", "last.pt"))
        assert "training" not in best
        assert last["epoch"] == 2
        assert best["statistics"] == Statistics.load(data_dir / "normalization_stats.npz").to_dict()
        parent = None if name == "autoencoder" else load_checkpoint(trained.autoencoder, "autoencoder")["fingerprint"]
        assert best["parent"] == parent
