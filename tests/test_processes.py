"""Two processes do what one does: the same losses, from any cut, the same figures and clips; a lost one ends all."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from test_resuming import stop_at

from checkpoints import load_checkpoint
from models.whole_batch import Draws, WholeBatch, clip_mean, masked_mean, part_of
from runtime import processes
from runtime.errors import UserError

READER = "train_pose_to_text.py --data_dir D --output_dir O"
MORE = {  # 12 clips of train: batches of 11 and 1, of which the second process has none, and of 5, 5 and 2
    "autoencoder": "--dropout 0.2 --motion_kept 0.9 --batch_size 11 --gradient_accumulation_steps 2",
    "predictor": "--dropout 0.2 --batch_size 5 --gradient_accumulation_steps 2",
    "flow": "--dropout 0.2 --batch_size 11 --joined_clips 0.6 --max_seq_len 240 --picture_every 1",  # drawn by one
    "prior": "--batch_size 11",
    "student": "--batch_size 5",
    "reader": "--batch_size 5 --hidden_dim 32 --num_heads 4 --dropout 0.2",
}
CUT = "--dropout 0.2 --batch_size 4"  # three batches an epoch, then one of dev: the sixth is in the second epoch


@pytest.fixture(scope="module")
def folders(data_dir, trained, bert, tmp_path_factory):
    """What one process writes into `one` and two into `two`; in `said` what the two printed."""
    root = tmp_path_factory.mktemp("processes")
    texts = root / "texts.txt"
    texts.write_text("\n".join(f"clip{n}|{'s e a ' * n}" for n in range(1, 6)))

    def jobs(folder: Path) -> dict[str, tuple[str, str, dict[str, Path]]]:
        """Name, flags and paths of each command, by what it is done for."""
        work = {"D": data_dir, "T": texts, **trained.paths}
        made = {name: (name, f"{more} --cache_dir {folder / 'cache'}", work) for name, more in MORE.items()}
        made["predictor"] = ("predictor", f"{made['predictor'][1]} --text_encoder {bert}", work)
        made["evaluation"] = ("evaluate_flow", "--batch_size 1 --num_workers 2 --num_steps 3 --save_predictions", work)
        made["clips"] = ("inference_texts", "--batch_size 2", work)
        return {what: (name, more, {**paths, "O": folder / what}) for what, (name, more, paths) in made.items()}

    def line(what: str, name: str, more: str, **paths: Path) -> str:
        return shlex.join([what, *commands.arguments(name, more, **paths)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.COMMANDS, "reader", READER)
        patch.setitem(commands.SMALL, "reader", commands.TRAINING)
        patch.setitem(
            commands.COMMANDS, "inference_texts", commands.COMMANDS["inference_texts"].replace(" O", " O/x.npy")
        )
        for name, more, paths in jobs(root / "one").values():
            patched = {**paths, "O/x.npy": paths["O"] / "x.npy"}
            commands.call(name, more, **patched)
        cut = {folder: {"D": data_dir, "O": root / folder / "cut"} for folder in ("one", "two")}
        commands.call("autoencoder", CUT, D=data_dir, O=root / "whole")
        with pytest.MonkeyPatch.context() as signals:
            stop_at(6, "SIGTERM", signals)
            with pytest.raises(SystemExit):
                commands.call("autoencoder", CUT, **cut["one"])
        lines = [
            line("-", name, more, **paths, **{"O/x.npy": paths["O"] / "x.npy"})
            for name, more, paths in jobs(root / "two").values()
        ]
        lines.append(line("-", "autoencoder", f"{CUT} --resume_from auto", **cut["one"]))
        lines.append(line("stop:6", "autoencoder", CUT, **cut["two"]))
        lines.append(line("kill:6", "autoencoder", CUT, D=data_dir, O=root / "two" / "lost"))
        (root / "lines.txt").write_text("\n".join(lines))
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        script = commands.ROOT / "tests" / "in_two_processes.py"
        done = subprocess.run(
            [*launcher, script, root / "lines.txt"],
            cwd=commands.ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        (root / "said").write_text(done.stdout + done.stderr)
        commands.call("autoencoder", f"{CUT} --resume_from auto", **cut["two"])
    return root


def losses(folder: Path) -> list[float]:
    """Every loss of a log, in order."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records[:-1]] == [1, 2]
    parts = [record.get(split, {}) for record in records for split in ("train", "dev", "test")]
    return [value for part in parts for value in part.values()]


@pytest.mark.parametrize("name", MORE)
def test_two_processes_have_the_losses_of_one(name, folders):
    one, two = (losses(folders / side / name) for side in ("one", "two"))
    assert len(one) >= 5
    assert two == pytest.approx(one, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("stopped", ["one", "two"])
def test_a_run_goes_on_with_another_number_of_processes(stopped, folders):
    assert losses(folders / stopped / "cut") == pytest.approx(losses(folders / "whole"), rel=1e-5)


def test_the_caches_of_two_processes_are_those_of_one(folders):
    names = [path.name for path in sorted((folders / "one" / "cache").iterdir()) if path.is_dir()]
    assert {name.split("-")[0] for name in names} >= {"train", "dev", "latents", "texts", "trajectories"}
    for name in names:
        for file in (folders / "one" / "cache" / name).iterdir():
            assert (folders / "two" / "cache" / name / file.name).read_bytes() == file.read_bytes(), file


def test_two_processes_score_and_sign_as_one_does_to_the_last_bit(folders):
    reports = [json.loads((folders / side / "evaluation" / "metrics_test.json").read_text()) for side in ("one", "two")]
    for report in reports:
        assert report["model"].pop("latency")
    assert reports[0] == reports[1]
    for file in ("predictions_test", "clips_test.npz"):
        first, second = (folders / side / "evaluation" / file for side in ("one", "two"))
        files = sorted(path.name for path in first.iterdir()) if first.is_dir() else [""]
        assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
    for number in range(1, 6):
        clips = [np.load(folders / side / "clips" / f"clip{number}.npy") for side in ("one", "two")]
        assert np.array_equal(*clips)


def test_one_process_speaks(folders):
    said = (folders / "said").read_text()
    wrote = [line for line in said.splitlines() if line.startswith("wrote") and "/two/" in line]
    assert len(wrote) == len(set(wrote)) == len(MORE) + 3 + 5  # best models, a report in three files, clips
    assert said.count("  reference  reconstruction") == 1  # the table of the evaluation
    assert said.count("stopped by SIGTERM") == 1


def test_a_lost_process_ends_the_others_with_one_sentence_and_leaves_what_was_reached(folders):
    said = (folders / "said").read_text().splitlines()
    last = folders / "two" / "lost" / "last.pt"
    lost = [line for line in said if "another process of this command has ended" in line]
    assert lost == [
        "process 0: another process of this command has ended, or does not answer; "
        f"{last} holds the progress so far; the same command with --resume_from auto resumes the run"
    ]
    assert load_checkpoint(last, "autoencoder")["epoch"] == 1


def test_processes_that_do_not_see_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started but do not see each other"):
        processes.require_acquainted()


# ---- draws and means -------------------------------------------------------------------------------------------------


def test_a_clips_draws_depend_on_neither_its_batch_nor_its_padding():
    together, alone = Draws.of("abc", 7, 1), Draws.of("b", 7, 1)
    for draw in (
        lambda draws, length: draws.normal(length, 3),
        lambda draws, length: draws.uniform(length, 3),
        lambda draws, length: draws.integers(9, length, 3),
        lambda draws, length: draws.dropout(torch.ones(len(draws.keys), length, 3), 0.4),
    ):
        assert torch.equal(draw(together, 10)[1, :7], draw(alone, 7)[0])


def test_draws_differ_by_clip_number_seed_and_epoch():
    draws = Draws.of("ab", 0, 1)
    first, second = draws.normal(1000), draws.normal(1000)
    others = [Draws.of("ab", 1, 1).normal(1000)[0], Draws.of("ab", 0, 2).normal(1000)[0], first[1], second[0]]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([first[0], other]))[0, 1]) < 0.15


def test_draws_have_the_distributions_that_they_are_called_by():
    draws = Draws.of(list(map(str, range(50))), 3)
    normal, uniform, integers = draws.normal(101, 41), draws.uniform(101, 41), draws.integers(3, 101, 41)
    moments = [normal.mean(), normal.var(), (normal**3).mean(), (normal**4).mean()]
    assert [value.item() for value in moments] == pytest.approx([0, 1, 0, 3], abs=0.05)
    assert 0 <= uniform.min() < 1e-3
    assert 0.999 < uniform.max() < 1
    assert torch.bincount(integers.flatten()).float().div(integers.numel()).tolist() == pytest.approx(
        [1 / 3] * 3, abs=0.01
    )
    ordered = uniform.flatten().sort().values
    assert (ordered - torch.linspace(0, 1, len(ordered))).abs().max() < 0.005  # Kolmogorov & Smirnov
    for probability in (0.1, 0.5):
        dropped = draws.dropout(torch.ones(50, 101, 41), probability)
        assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.01)
        assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert not draws.dropout(torch.ones(50, 4), 1.0).any()


@pytest.mark.parametrize("shares", [[[0, 2, 4], [1, 3]], [[0], [1, 2, 3, 4]]], ids=str)
@pytest.mark.parametrize("mean", ["masked", "clip"])
def test_the_parts_of_a_mean_add_up_whoever_has_which_clip(mean, shares):
    torch.manual_seed(0)
    values, weight = torch.randn(5, 7, 2), torch.rand(5, 7, 1) < 0.6

    def of(clips: list[int]) -> torch.Tensor:
        return masked_mean(values[clips], weight[clips]) if mean == "masked" else clip_mean(values[clips, 0, 0])

    def total(part: torch.Tensor) -> torch.Tensor:
        """As if the other processes had added theirs."""
        return 2.0 * weight.sum() if mean == "masked" else torch.tensor(5.0)

    parts = []
    for clips, share in [*((clips, 1.0) for clips in shares), ([3], 0.0)]:  # the last one's clip does not count
        with part_of(WholeBatch(Draws.of("a"), total, share)):
            parts.append(of(clips))
    torch.testing.assert_close(sum(parts), of(list(range(5))))
