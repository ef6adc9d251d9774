"""The prior that is trained alone, without texts, and given to stage 2: train_stage2_prior.py, --prior_checkpoint."""

import dataclasses
import json
import shutil
from pathlib import Path

import commands
import pytest
import torch
from torch import nn

from checkpoints import FLOW, PRIOR, load_checkpoint, save_checkpoint
from models.layers import lengths_to_mask
from models.mamba_prior import PriorAlone, PriorConfig
from models.whole_batch import Draws
from training.optimisation import parameter_groups


@pytest.fixture(scope="module")
def without_texts(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The poses of the data set in a folder without a text."""
    folder = tmp_path_factory.mktemp("poses") / "data"
    shutil.copytree(data_dir, folder, ignore=shutil.ignore_patterns("cache", "*.txt"))
    for split in ("train", "dev", "test"):
        ids = sorted(path.stem for path in (folder / split / "poses").iterdir())
        (folder / f"{split}.txt").write_text("".join(f"{clip_id}|\n" for clip_id in ids))
    return folder


@pytest.fixture(scope="module")
def prior(without_texts: Path, trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prior") / "prior"
    commands.call("prior", D=without_texts, O=folder, A=trained.autoencoder)
    return folder / "best_model.pt"


def train_flow(data: Path, output: Path, more: str, autoencoder: Path) -> dict:
    # the small flow's own --prior_hidden_dim 16 and --prior_layers 1 are typed, and agree with the prior's
    commands.call("flow", more, D=data, O=output, A=autoencoder)
    return load_checkpoint(output / "best_model.pt", FLOW)


def test_it_learns_the_drift_of_data_without_a_text():
    """Where all latents are one point m, the best drift is (m - z_t) / (1 - t): the loss falls far below that of 0."""
    torch.manual_seed(0)
    model = PriorAlone(PriorConfig("simple", latent_dim=3, hidden_dim=32, num_layers=1))
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), 3e-3)
    z_1, mask = torch.tensor([1.5, -1.0, 0.5]).expand(64, 6, 3), lengths_to_mask(torch.full((64,), 6))
    losses = []
    for step in range(150):
        loss = model.loss(z_1, mask, Draws.of([str(i) for i in range(64)], step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.4 * sum(losses[:10])


def test_padding_never_changes_its_loss():
    torch.manual_seed(0)
    model = PriorAlone(PriorConfig("simple", latent_dim=3, hidden_dim=16, num_layers=1))
    nn.init.normal_(model.prior.output.weight)
    z_1, draws = torch.randn(2, 5, 3), Draws.of("ab")
    alone = model.loss(z_1, lengths_to_mask(torch.tensor([5, 4])), draws)["loss"]
    padded = torch.cat([z_1, torch.full((2, 3, 3), 7.0)], dim=1)
    torch.testing.assert_close(
        model.loss(padded, lengths_to_mask(torch.tensor([5, 4]), 8), Draws.of("ab")), {"loss": alone}
    )


def test_a_flow_keeps_the_prior_and_its_scale_as_they_were_given(prior, data_dir, trained, tmp_path):
    given = load_checkpoint(prior, PRIOR)
    flow = train_flow(data_dir, tmp_path / "flow", f"--prior_checkpoint {prior}", trained.autoencoder)
    assert flow["config"]["prior_checkpoint"] == given["fingerprint"]
    ours = {name.removeprefix("net."): value for name, value in flow["weights"].items()}
    assert all(torch.equal(ours[name], value) for name, value in given["weights"].items())
    log = [json.loads(line) for line in (tmp_path / "flow" / "log.jsonl").read_text().splitlines()]
    assert log[0]["train"]["prior"] > 0

    commands.call(
        "evaluate_flow", D=data_dir, O=tmp_path / "scores", A=trained.autoencoder, F=tmp_path / "flow/last.pt"
    )
    assert (tmp_path / "scores" / "metrics_test.json").is_file()


def test_its_run_goes_on_and_with_no_other_prior(prior, data_dir, without_texts, trained, tmp_path, capsys):
    whole = train_flow(data_dir, tmp_path / "whole", f"--prior_checkpoint {prior}", trained.autoencoder)
    moved = shutil.copy(prior, tmp_path / "elsewhere.pt")
    with_it = f"--prior_checkpoint {moved} --resume_from auto"
    with_other = with_it.replace(str(moved), str(tmp_path / "other" / "best_model.pt"))
    commands.call("prior", "--seed 5", D=without_texts, O=tmp_path / "other", A=trained.autoencoder)
    capsys.readouterr()
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "whole"}
    for flags in (with_other, "--resume_from auto"):
        said = commands.one_sentence(capsys, lambda flags=flags: commands.call("flow", flags, **paths))
        assert (
            f"trained with the prior of fingerprint {whole['config']['prior_checkpoint']}; name it by --prior" in said
        )
    commands.call("flow", with_it, **paths)  # there is nothing left to do
    assert load_checkpoint(tmp_path / "whole" / "best_model.pt", FLOW)["fingerprint"] == whole["fingerprint"]


WRONG = {
    "--prior_layers 2": "--prior_layers 2 contradicts 1",
    "--prior_hidden_dim 32": "--prior_hidden_dim 32 contradicts 16",
    "--ssm_prior_type mamba": "--ssm_prior_type mamba contradicts simple",
    "--space pose --latent_dim 214 --temporal_stride 1": "--space pose contradicts latent",
}


@pytest.mark.parametrize("flags", WRONG)
def test_flags_that_contradict_it_are_refused(flags: str, prior, data_dir, trained, tmp_path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "flow"}
    said = commands.one_sentence(capsys, lambda: commands.call("flow", f"--prior_checkpoint {prior} {flags}", **paths))
    assert WRONG[flags] in said
    assert not (tmp_path / "flow").exists()


def test_what_is_no_prior_of_this_autoencoder_is_refused(prior, data_dir, trained, tmp_path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "flow"}

    def said(path: Path, **others: Path) -> str:
        return commands.one_sentence(
            capsys, lambda: commands.call("flow", f"--prior_checkpoint {path}", **{**paths, **others})
        )

    assert "a checkpoint of kind 'flow', but 'prior' is needed here (train_stage2_prior.py)" in said(trained.flow)
    assert "no such checkpoint; train_stage2_prior.py writes one" in said(tmp_path / "none.pt")
    commands.call("autoencoder", "--seed 3", D=data_dir, O=tmp_path / "other")
    capsys.readouterr()
    assert "pass the autoencoder it was trained on" in said(prior, A=tmp_path / "other" / "best_model.pt")
    assert not (tmp_path / "flow").exists()


def test_a_run_without_it_does_not_go_on_with_one(prior, data_dir, trained, tmp_path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "flow"}
    commands.call("flow", **paths)
    capsys.readouterr()
    said = commands.one_sentence(
        capsys, lambda: commands.call("flow", f"--prior_checkpoint {prior} --resume_from auto", **paths)
    )
    assert "trained without --prior_checkpoint; leave the flag out" in said


WRONG_PRIORS = {
    "a prior of another shape than stage 2 builds": {"latent_dim": 4},
    "a prior of another shape": {"d_state": 4},
    "its latents have no spread": {},
    "its weights do not fit its configuration": {"hidden_dim": 32},
}


@pytest.mark.parametrize("sentence", WRONG_PRIORS)
def test_a_prior_that_stage_2_cannot_take_is_refused(sentence: str, prior, data_dir, trained, tmp_path, capsys):
    content, changes = load_checkpoint(prior, PRIOR), WRONG_PRIORS[sentence]
    config = PriorConfig(**{**content["config"], **changes})
    if "hidden_dim" not in changes:
        content["weights"] = PriorAlone(config).state_dict()
    if not changes:
        content["weights"]["latent_std"].zero_()
    save_checkpoint(tmp_path / "wrong.pt", {**without_form(content), "config": dataclasses.asdict(config)})
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "flow"}
    more = f"--prior_checkpoint {tmp_path / 'wrong.pt'}"
    assert sentence in commands.one_sentence(capsys, lambda: commands.call("flow", more, **paths))
    assert not (tmp_path / "flow").exists()


def without_form(content: dict) -> dict:
    """What `save_checkpoint` is given: it adds format and fingerprint."""
    return {name: value for name, value in content.items() if name not in ("format", "fingerprint")}


def test_an_export_stands_in_its_place_and_says_what_it_is(prior, data_dir, trained, tmp_path):
    commands.call_script("export.py", "--checkpoint", prior, "--output_dir", tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "prior of Direction 2 alone" in card
    assert "--prior_checkpoint THIS_FOLDER" in card
    one, other = (
        train_flow(data_dir, tmp_path / name, f"--prior_checkpoint {path}", trained.autoencoder)
        for name, path in (("of_file", prior), ("of_folder", tmp_path / "shared"))
    )
    assert one["fingerprint"] == other["fingerprint"]
