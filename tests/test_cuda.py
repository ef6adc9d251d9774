"""A CUDA GPU trains and signs what a CPU does, in every number format; `make test-cuda`. Skipped without a GPU."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from test_generation import CASES, LENGTHS, SEEDS, TEXTS, make_generator

from checkpoints import load_checkpoint
from models.mamba_prior import MambaMixer, PriorConfig, build_prior, mamba_kernels_available
from poses.statistics import Statistics
from training.run_folder import LOG

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
needs_kernels = pytest.mark.skipif(not mamba_kernels_available(), reason="needs mamba-ssm and causal-conv1d")

STAGES = ["autoencoder", "predictor", "prior", "flow", "student"]


def train(name: str, device: str, folder: Path, trained, data_dir: Path, more: str = "") -> list[dict]:
    """The lines of log.jsonl of a stage, trained by its command on `device`."""
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow, "O": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", str(device == "cpu").lower())
        said = commands.run(name, f"{'--text_encoder scratch ' if name == 'predictor' else ''}{more}", **paths)
    assert f"on {device}" in said
    return [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]


def losses(log: list[dict]) -> dict[tuple[int, str, str], float]:
    splits = ("train", "dev", "test")
    return {
        (line["epoch"], split, name): value
        for line in log
        for split in splits
        for name, value in line.get(split, {}).items()
    }


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_as_on_a_cpu(name, trained, data_dir, tmp_path):
    """Draws, shuffling and dropout are equal on every device, so only rounding differs."""
    expected = losses(train(name, "cpu", tmp_path / "cpu", trained, data_dir))
    got = losses(train(name, "cuda", tmp_path / "cuda", trained, data_dir))
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, rel=0.01, abs=1e-4), key


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_and_resumes_in_half_precision(name, precision, trained, data_dir, tmp_path):
    steps = "--batch_size 2"  # six steps an epoch: fp16 may skip the first ones, until its scale fits
    wide = losses(train(name, "cuda", tmp_path / "fp32", trained, data_dir, steps))
    flag = f"--mixed_precision {precision} {steps}"
    whole = losses(train(name, "cuda", tmp_path / "whole", trained, data_dir, flag))
    train(name, "cuda", tmp_path / "parts", trained, data_dir, f"{flag} --num_epochs 1")
    again = train(name, "cuda", tmp_path / "parts", trained, data_dir, f"{flag} --resume_from auto --override")
    assert again[0]["mixed_precision"] == precision
    skipped = sum(line.get("skipped_steps", 0) for line in again)  # of a scale of fp16 that begins too high
    assert skipped <= (6 if precision == "fp16" else 0)
    for key, value in whole.items():
        assert value == pytest.approx(wide[key], rel=0.1 if not skipped else 0.5, abs=2e-3), key
    # fewer epochs make another cosine, so that only the end's losses are like those of one whole run
    assert losses(again)[(2, "dev", "loss")] == pytest.approx(whole[(2, "dev", "loss")], rel=0.2, abs=2e-3)


def test_a_run_that_began_on_a_gpu_goes_on_on_a_cpu(trained, data_dir, tmp_path):
    train("flow", "cuda", tmp_path / "run", trained, data_dir, "--num_epochs 1")
    log = train("flow", "cpu", tmp_path / "run", trained, data_dir, "--resume_from auto --override")
    assert [line["epoch"] for line in log if "train" in line] == [1, 2]
    state = load_checkpoint(tmp_path / "run" / "last.pt", "flow")
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


# ---- signing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "prior", "stride"), CASES)
def test_a_clip_is_that_of_a_cpu_whatever_its_batch(kind, prior, stride, statistics: Statistics):
    expected = make_generator(kind, prior, stride, statistics).generate(TEXTS, SEEDS, LENGTHS)
    generator = make_generator(kind, prior, stride, statistics, device="cuda")
    together = generator.generate(TEXTS, SEEDS, LENGTHS)
    for index, (ours, theirs) in enumerate(zip(together, expected, strict=True)):
        (alone,) = generator.generate(TEXTS[index : index + 1], SEEDS[index : index + 1], LENGTHS[index : index + 1])
        assert ours.pose.std() > 0.01
        assert np.abs(ours.pose - theirs.pose).max() < 1e-4
        assert np.abs(ours.pose - alone.pose).max() < 1e-4


@pytest.mark.parametrize(("kind", "prior", "stride"), CASES)
def test_a_clip_in_bf16_is_near_that_in_fp32(kind, prior, stride, statistics: Statistics):
    wide, half = (
        make_generator(kind, prior, stride, statistics, device="cuda", precision=precision).generate(
            TEXTS, SEEDS, LENGTHS
        )
        for precision in ("fp32", "bf16")
    )
    for ours, theirs in zip(half, wide, strict=True):
        assert np.abs(ours.pose - theirs.pose).mean() < 0.05 * theirs.pose.std()


@pytest.mark.parametrize(("kind", "prior", "stride"), [CASES[1], CASES[4], CASES[5], CASES[7]])
def test_a_compiled_clip_is_the_same(kind, prior, stride, statistics: Statistics):
    plain, compiled = (
        make_generator(kind, prior, stride, statistics, device="cuda", compiled=flag).generate(TEXTS, SEEDS, LENGTHS)
        for flag in (False, True)
    )
    for ours, theirs in zip(compiled, plain, strict=True):
        assert np.abs(ours.pose - theirs.pose).max() < 1e-3


def test_the_commands_sign_and_measure_as_on_a_cpu(trained, data_dir, tmp_path):
    figures = {}
    for device in ("cpu", "cuda"):
        output = tmp_path / device
        flag = f"--device {device} --precision fp32"
        commands.run("inference_flow", flag, **trained.paths, D=data_dir, O=output / "clip.npy")
        commands.run(
            "evaluate_flow",
            f"--autoencoder_checkpoint {trained.autoencoder} {flag}",
            **trained.paths,
            D=data_dir,
            O=output / "evaluation",
        )
        (file,) = (output / "evaluation").glob("metrics_*.json")
        figures[device] = json.loads(file.read_text(encoding="utf-8"))
    clips = [np.load(tmp_path / device / "clip.npy") for device in figures]
    assert np.abs(clips[0] - clips[1]).max() < 1e-4
    assert_alike(figures["cuda"], figures["cpu"])


def assert_alike(ours: object, theirs: object, where: str = "") -> None:
    """Numbers alike to a thousandth, except times and the names of folders."""
    if isinstance(theirs, dict):
        for key in theirs:
            if "second" not in key and key not in ("latency", "device", "output_dir", "environment"):
                assert_alike(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=5e-3, abs=1e-3), where


# ---- Mamba's own kernels ---------------------------------------------------------------------------------------------


@needs_kernels
@pytest.mark.parametrize("b", [1, 3, 64])
@pytest.mark.parametrize("length", [1, 2, 7, 64, 513, 2048])
@pytest.mark.parametrize("d_model", [16, 64, 256])
def test_a_mixer_by_the_kernels_is_that_of_a_cpu(b, length, d_model):
    """Output and gradients, in fp32, for single frames, odd lengths and whole sentences."""
    if b * length * d_model > 2**23:
        pytest.skip("too long for the CPU's side")
    torch.manual_seed(0)
    mixer, x, weight = MambaMixer(d_model), torch.randn(b, length, d_model), torch.randn(b, length, d_model)
    results = {}
    for device in ("cpu", "cuda"):
        mixer.to(device).zero_grad()
        own = x.clone().to(device).requires_grad_()
        y = mixer(own)
        (y * weight.to(device)).sum().backward()
        results[device] = [y, own.grad, *(parameter.grad for parameter in mixer.parameters())]
        results[device] = [value.detach().cpu() for value in results[device]]
    for ours, theirs in zip(results["cuda"], results["cpu"], strict=True):
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-6


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_prior_by_the_kernels_works_in_half_precision(dtype):
    torch.manual_seed(0)
    prior = build_prior(PriorConfig("mamba", latent_dim=24, hidden_dim=64, num_layers=2)).cuda()
    for parameter in prior.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    z_t, t = torch.randn(4, 37, 24, device="cuda"), torch.rand(4, device="cuda")
    mask = torch.arange(37, device="cuda")[None] < torch.tensor([[37], [1], [20], [5]], device="cuda")
    wide = prior(z_t, t, mask)
    with torch.autocast("cuda", dtype):
        half = prior(z_t, t, mask)
    half.float().square().sum().backward()
    assert (half.float() - wide).norm() < 0.03 * wide.norm()
    assert all(torch.isfinite(parameter.grad).all() for parameter in prior.parameters())


@needs_kernels
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_flow_trained_by_the_kernels_signs_on_a_cpu(precision, trained, data_dir, tmp_path):
    flag = f"--ssm_prior_type auto --mixed_precision {precision}"
    log = train("flow", "cuda", tmp_path / "flow", trained, data_dir, flag)
    slow = train("flow", "cpu", tmp_path / "slow", trained, data_dir, "--ssm_prior_type mamba")
    for key, value in losses(slow).items():
        assert losses(log)[key] == pytest.approx(value, rel=0.1 if precision == "bf16" else 0.01, abs=2e-3), key
    clips = []
    for device in ("cpu", "cuda"):
        paths = {"A": trained.autoencoder, "F": tmp_path / "flow" / "best_model.pt", "O": tmp_path / f"{device}.npy"}
        commands.run("inference_flow", f"--device {device} --precision fp32", **paths, D=data_dir)
        clips.append(np.load(paths["O"]))
    assert np.abs(clips[0] - clips[1]).max() < 1e-4
