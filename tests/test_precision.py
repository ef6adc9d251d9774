"""Precision and threads follow from processor, device and width; flags and the environment win; a run keeps its own."""

import json
from pathlib import Path

import commands
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState

import runtime.precision
import training.mixed_precision
from checkpoints import load_checkpoint
from models.layers import attend
from models.text_to_latent import LengthPredictor
from models.whole_batch import masked_mean

WIDE = runtime.precision.WIDE


# ---- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "tiles", "width", "precision", "why"),
    [
        ("cpu", True, 512, "bf16", "since this processor has bf16 tiles (AMX)"),
        ("cpu", True, WIDE, "bf16", "since this processor has bf16 tiles (AMX)"),
        ("cpu", True, WIDE - 1, "fp32", "since networks under 384 wide gain nothing from bf16"),
        ("cpu", False, 512, "fp32", "since this processor has no bf16 tiles (AMX)"),
        ("cpu", False, 64, "fp32", "since this processor has no bf16 tiles (AMX)"),
        ("cuda", True, 512, "fp32", "the default on cuda"),
        ("mps", False, 512, "fp32", "the default on mps"),
    ],
)
def test_precision_follows_from_device_processor_and_width(device, tiles, width, precision, why):
    assert runtime.precision.choose_precision(device, width, tiles) == (precision, why)


@pytest.mark.parametrize(
    ("capabilities", "allowed", "bf16", "tiles"),
    [
        ({"avx2": True}, False, False, False),
        ({"cpu_name": "AMD EPYC", "avx512_f": True, "avx512_bf16": True}, True, True, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_tile": True, "amx_bf16": True}, True, True, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_tile": True, "amx_bf16": True}, False, True, False),
    ],
    ids=["AVX2", "AMD with bf16", "AMX", "AMX that the system forbids"],
)
def test_the_processor_is_asked_and_so_is_the_system(monkeypatch, capabilities, allowed, bf16, tiles):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: allowed)
    assert (runtime.precision.has_bf16(), runtime.precision.has_tiles()) == (bf16, tiles)


@pytest.mark.parametrize(
    ("width", "most", "free", "threads"),
    [
        (128, 16, 16.0, 1),
        (255, 16, 16.0, 1),
        (256, 16, 16.0, 16),
        (512, 16, 16.0, 16),
        (512, 16, 5.4, 5),
        (512, 2, 1.6, 2),
        (512, 2, 1.2, 1),
        (512, 8, 0.0, 1),
    ],
)
def test_small_networks_take_one_thread_and_others_the_cores_that_are_free(width, most, free, threads):
    assert runtime.precision.choose_threads(width, most, free).value == threads


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads on an idle machine that asks for nothing, put back afterwards."""
    before = torch.get_num_threads()
    for name in runtime.precision.THREADS_ASKED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime.precision, "free_cores", lambda: 2.0)
    monkeypatch.setattr(runtime.precision, "quota", lambda: float("inf"))
    monkeypatch.setattr(runtime.precision, "_OWN_THREADS", 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_environment_the_quota_and_the_run_limit_the_threads(two_threads, monkeypatch):
    assert runtime.precision.use_threads(512, "cpu") == (2, "all it may take")
    assert runtime.precision.use_threads(32, "cuda") == (2, "PyTorch's own")
    assert runtime.precision.use_threads(512, "cpu", kept=4) == (2, "the run had 4")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert runtime.precision.use_threads(32, "cpu") == (2, "OMP_NUM_THREADS")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(runtime.precision, "quota", lambda: 0.5)
    assert runtime.precision.use_threads(512, "cpu") == (1, "all it may take")
    assert torch.get_num_threads() == 1


def test_a_run_that_goes_on_keeps_its_threads_on_a_machine_that_is_idle_now(two_threads):
    assert runtime.precision.use_threads(512, "cpu", kept=1) == (1, "as the run began")


# ---- what the machine has left ---------------------------------------------------------------------------------------


def stat(*of_cores: tuple[int, int]) -> str:
    """/proc/stat of cores with these busy and idle ticks."""
    return "cpu  0 0 0 0\n" + "".join(
        f"cpu{n} {busy} 0 0 {idle} 0 0 0 0 7 7\n" for n, (busy, idle) in enumerate(of_cores)
    )


def test_cores_that_others_use_are_not_free(monkeypatch, tmp_path):
    """Three cores, of which this process may use two: one is idle, one half busy."""
    monkeypatch.setattr(runtime.precision, "_PROC", tmp_path)
    monkeypatch.setattr(runtime.precision.os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    (tmp_path / "stat").write_text(stat((100, 100), (50, 50), (10, 10)))
    later = stat((200, 100), (50, 150), (60, 60))
    monkeypatch.setattr(runtime.precision.time, "sleep", lambda _: (tmp_path / "stat").write_text(later))
    assert runtime.precision.free_cores() == pytest.approx(1.5)
    (tmp_path / "stat").unlink()
    assert runtime.precision.free_cores() == 2


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {}, float("inf")),
        (
            "4:cpu,cpuacct:/job\n2:memory:/\n",
            {"cpu/job/cpu.cfs_quota_us": "200000\n", "cpu/job/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("4:cpu:/job\n", {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000"}, float("inf")),
        (None, {}, float("inf")),
    ],
)
def test_the_quota_of_a_container_is_read(monkeypatch, tmp_path, groups, files, cores):
    monkeypatch.setattr(runtime.precision, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(runtime.precision, "_CGROUPS", tmp_path / "cgroups")
    if groups is not None:
        files = {"../proc/self/cgroup": groups} | files
    for name, text in files.items():
        path = tmp_path / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert runtime.precision.quota() == cores


# ---- bf16 in training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [7, 300])
def test_attention_in_bf16_has_the_gradient_of_fp32_to_its_precision(keys):
    q, k, v = (torch.randn(2, 3, rows, 8, requires_grad=True) for rows in (20, keys, keys))
    mask = torch.arange(keys)[None, None, None] < torch.tensor([keys, keys // 2]).view(2, 1, 1, 1)
    exact = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    found = attend(*(part.bfloat16() for part in (q, k, v)), mask)
    torch.testing.assert_close(found.float(), exact, rtol=0.03, atol=0.03)
    for ours, right in zip(
        torch.autograd.grad(found.float().square().sum(), (q, k, v)),
        torch.autograd.grad(exact.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, right, rtol=0.05, atol=0.02 * float(right.abs().max()))


# ---- what scripts say, and what flags and a run's past decide --------------------------------------------------------


def call(name: str, more: str = "", **paths: Path) -> None:
    """A command as in a process of its own: accelerate keeps one precision a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        commands.call(name, more, **paths)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def amx(monkeypatch):
    """A processor with tiles, on which every network counts as wide."""
    monkeypatch.setattr(runtime.precision, "WIDE", 1)
    monkeypatch.setattr(runtime.precision, "has_tiles", lambda: True)
    monkeypatch.setattr(training.mixed_precision, "has_tiles", lambda: True)


def first_line(capsys: pytest.CaptureFixture) -> str:
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("precision: "))


def made_with(folder: Path) -> str:
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines() if "train" in line]
    kept = load_checkpoint(folder / "last.pt", "autoencoder")["training"]["made_with"]["mixed_precision"]
    assert {record["mixed_precision"] for record in log} == {kept}
    return kept


def test_training_says_what_it_takes_and_keeps_it_when_it_goes_on(data_dir, tmp_path, capsys, amx, monkeypatch):
    paths = {"D": data_dir, "O": tmp_path}
    call("autoencoder", **paths)
    assert first_line(capsys).startswith("precision: bf16, since this processor has bf16 tiles (AMX); 1 thread (")
    assert made_with(tmp_path) == "bf16"
    monkeypatch.setattr(training.mixed_precision, "has_tiles", lambda: False)
    monkeypatch.setattr(training.mixed_precision, "has_bf16", lambda: True)
    call("autoencoder", "--num_epochs 3 --resume_from auto", **paths)
    assert "precision: bf16, as the run began; a new one here uses fp32; " in first_line(capsys)
    assert made_with(tmp_path) == "bf16"


def test_a_run_in_fp32_goes_on_in_fp32_where_a_new_one_takes_bf16(trained, data_dir, tmp_path, capsys, amx):
    last = trained.autoencoder.with_name("last.pt")
    call("autoencoder", f"--num_epochs 3 --resume_from {last}", D=data_dir, O=tmp_path)
    assert "precision: fp32, as the run began; a new one here uses bf16; " in first_line(capsys)
    assert made_with(tmp_path) == "no"
    said = commands.refusal(
        capsys,
        lambda: call("autoencoder", f"--mixed_precision bf16 --resume_from {last}", D=data_dir, O=tmp_path / "b"),
    )
    assert "the run was started with other settings (--mixed_precision is bf16, was no)" in said


def test_a_run_in_bf16_is_not_gone_on_with_where_there_is_none(data_dir, tmp_path, capsys, amx, monkeypatch):
    call("autoencoder", "--mixed_precision bf16", D=data_dir, O=tmp_path)
    assert first_line(capsys).startswith("precision: bf16, as asked")
    monkeypatch.setattr(training.mixed_precision, "has_bf16", lambda: False)
    again = "--num_epochs 3 --resume_from auto"
    said = commands.one_sentence(capsys, lambda: call("autoencoder", again, D=data_dir, O=tmp_path))
    assert "the run computes in bf16, which is slow on this processor, since it has no instructions for it" in said
    call("autoencoder", f"{again} --mixed_precision no --override", D=data_dir, O=tmp_path)
    assert "resuming with changed settings: --mixed_precision is no, was bf16" in capsys.readouterr().out


def test_fp16_is_refused_where_no_gpu_scales_its_gradients(data_dir, tmp_path, capsys):
    said = commands.refusal(capsys, lambda: call("autoencoder", "--mixed_precision fp16", D=data_dir, O=tmp_path))
    assert "--mixed_precision fp16 needs a GPU" in said


def test_lengths_and_means_are_not_rounded_to_bf16():
    torch.manual_seed(0)
    length, cond, mask = LengthPredictor(16), torch.randn(1, 40, 16), torch.ones(1, 40, dtype=torch.bool)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert length(cond, mask).dtype == torch.float32
        values = torch.full((1, 4099), 0.5, dtype=torch.bfloat16)
        assert masked_mean(values, torch.ones_like(values)) == 0.5


def test_a_student_takes_the_width_of_its_teacher(trained, tmp_path):
    assert training.mixed_precision.width_of(trained.flow) == 32
    assert training.mixed_precision.width_of(tmp_path / "none.pt") == 0


@pytest.mark.parametrize(
    ("flags", "precision", "why"), [("", "bf16", "since this processor"), ("--precision fp32", "fp32", "as asked")]
)
def test_signing_says_what_it_takes_and_a_flag_wins(flags, precision, why, trained, data_dir, tmp_path, capsys, amx):
    call("inference_flow", flags, O=tmp_path / "clip.npy", D=data_dir, **trained.paths)
    assert first_line(capsys).startswith(f"precision: {precision}, {why}")
    assert json.loads((tmp_path / "clip.json").read_text())["precision"] == precision


def test_small_networks_sign_in_fp32_on_one_thread(trained, data_dir, tmp_path, capsys, two_threads, monkeypatch):
    monkeypatch.setattr(runtime.precision, "has_tiles", lambda: True)
    call("evaluate_flow", "--num_workers 0", O=tmp_path, D=data_dir, **trained.paths)
    said = "precision: fp32, since networks under 384 wide gain nothing from bf16; 1 thread (the network is small)"
    assert first_line(capsys) == said
    assert json.loads((tmp_path / "metrics_test.json").read_text())["settings"]["precision"] == "fp32"
