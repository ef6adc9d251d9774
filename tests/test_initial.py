"""Stage 2 that starts from another flow: --initial_checkpoint and --labelled_only of train_stage2_latent_flow.py."""

import shlex
import shutil
from pathlib import Path

import commands
import pytest
import torch

from checkpoints import FLOW, load_checkpoint, save_checkpoint

STILL = "--learning_rate 1e-12 --weight_decay 0 --num_epochs 1 --ema_decay 0"


@pytest.fixture(scope="module")
def half(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which every other train clip has no text."""
    folder = tmp_path_factory.mktemp("half") / "data"
    shutil.copytree(data_dir, folder, ignore=shutil.ignore_patterns("cache"))
    lines = (folder / "train.txt").read_text().splitlines()
    lines[1::2] = [line.partition("|")[0] + "|" for line in lines[1::2]]
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def first(half: Path, trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    commands.call("flow", D=half, O=folder / "flow", A=trained.autoencoder)
    return folder / "flow" / "last.pt"


def test_a_run_starts_from_the_weights_of_another_flow(half: Path, first: Path, trained, tmp_path: Path, capsys):
    paths = {"D": half, "A": trained.autoencoder}
    commands.call("flow", f"--initial_checkpoint {first} --labelled_only {STILL}", O=tmp_path / "flow", **paths)
    assert "train clips have no text and are left out" in capsys.readouterr().out
    before, after = load_checkpoint(first, FLOW), load_checkpoint(tmp_path / "flow" / "last.pt", FLOW)
    assert after["text_encoder"] == before["text_encoder"]
    for name, weight in before["weights"].items():
        torch.testing.assert_close(after["weights"][name], weight, rtol=0, atol=1e-6)


def test_a_text_encoder_from_scratch_keeps_its_subwords_on_other_texts(
    data_dir: Path, first: Path, trained, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """The data set of all texts would teach it other subwords."""
    more = f"--initial_checkpoint {first} --labelled_only {STILL}"
    commands.call("flow", more, D=data_dir, O=tmp_path / "flow", A=trained.autoencoder)
    assert "every train clip has a text, so --labelled_only leaves none out" in capsys.readouterr().out
    commands.call("flow", STILL, D=data_dir, O=tmp_path / "own", A=trained.autoencoder)
    own, kept = (load_checkpoint(tmp_path / name / "last.pt", FLOW)["text_encoder"] for name in ("own", "flow"))
    assert kept == load_checkpoint(first, FLOW)["text_encoder"] != own


def test_a_run_of_labelled_clips_alone_knows_no_clip_without_a_text(half: Path, trained, tmp_path: Path, capsys):
    """Guidance away from no text would lead away from a token that nothing has trained."""
    paths = {"D": half, "A": trained.autoencoder, "O": tmp_path / "flow"}
    run = "--cfg_dropout 0 --guidance_from null_text --num_epochs 1"
    said = commands.refusal(capsys, lambda: commands.call("flow", f"{run} --labelled_only", **paths))
    assert "guidance_from null_text: training never dropped a text" in said
    commands.call("flow", run, **paths)
    assert load_checkpoint(tmp_path / "flow" / "last.pt", FLOW)["config"]["has_null_text"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--num_layers 1", "a flow with num_layers 2 (here 1); give the flags with which it was trained"),
        ("--prior_layers 2", "a flow with prior_layers 1 (here 2)"),
        ("--scratch_dim 16", "a flow with scratch_dim 32 (here 16)"),
        ("--vocab_size 50", "the text encoder of --initial_checkpoint has its own subwords"),
        ("--prior_checkpoint p.pt", "the flow of --initial_checkpoint has a prior of its own"),
    ],
)
def test_a_flow_of_other_flags_is_refused(half: Path, first: Path, trained, tmp_path: Path, capsys, more, said):
    paths = {"D": half, "O": tmp_path / "flow", "A": trained.autoencoder}
    error = commands.refusal(capsys, lambda: commands.call("flow", f"--initial_checkpoint {first} {more}", **paths))
    assert said in error
    assert not list((tmp_path / "flow").glob("*.pt"))


def test_a_text_encoder_of_another_kind_is_refused(half: Path, first: Path, trained, tmp_path: Path, capsys):
    words = commands.arguments("flow", D=half, O=tmp_path / "flow", A=trained.autoencoder)
    words = shlex.split(shlex.join(words).replace(commands.SCRATCH, "--text_encoder elsewhere"))
    error = commands.one_sentence(capsys, lambda: commands.call_script(*words, "--initial_checkpoint", first))
    assert "its text encoder is 'scratch', but this run has 'elsewhere'; pass that one" in error


@pytest.mark.parametrize(
    ("change", "said"),
    [({"signers": ["ada"]}, "its signers are ada"), ({"parent": "0" * 12}, "trained on the autoencoder 000000000000")],
)
def test_another_signer_or_autoencoder_is_refused(
    half: Path, first: Path, trained, tmp_path: Path, capsys, change: dict, said: str
):
    save_checkpoint(tmp_path / "other.pt", {**load_checkpoint(first, FLOW), **change})
    paths = {"D": half, "O": tmp_path / "flow", "A": trained.autoencoder}
    more = f"--initial_checkpoint {tmp_path / 'other.pt'}"
    assert said in commands.refusal(capsys, lambda: commands.call("flow", more, **paths))


def test_a_run_resumes_with_the_flow_that_it_started_from(half: Path, first: Path, trained, tmp_path: Path, capsys):
    paths = {"D": half, "O": tmp_path / "flow", "A": trained.autoencoder}
    commands.call("flow", f"--initial_checkpoint {first} --num_epochs 1", **paths)
    resume = f"--resume_from {tmp_path / 'flow' / 'last.pt'} --num_epochs 2"
    said = commands.refusal(capsys, lambda: commands.call("flow", resume, **paths))
    assert "the flow of --initial_checkpoint differs" in said
    commands.call("flow", f"{resume} --initial_checkpoint {first}", **paths)
    assert load_checkpoint(tmp_path / "flow" / "last.pt", FLOW)["epoch"] == 2
