"""oneDNN's products in MKL's place: no less exact, attention the same, weights packed for them, only where they fit."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from generation_arguments import resolve_device
from models import layers, speed
from models.layers import attend
from runtime import cpu
from training.engine import make_accelerator

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cudnn.allow_tf32 = before


def test_products_are_as_exact_as_fp32() -> None:
    cpu.prefer_onednn()
    for M, K, N in ((1, 512, 100), (77, 2048, 512), (300, 64, 300)):
        x, w, b = torch.randn(M, K), torch.randn(N, K) / K**0.5, torch.randn(N)
        expected = F.linear(x.double(), w.double(), b.double())
        torch.testing.assert_close(F.linear(x, w, b).double(), expected, rtol=1e-5, atol=2e-5)


def test_inexact_products_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD EPYC", "avx512_f": True})
    for exact in (True, False):
        monkeypatch.setattr(cpu, "_exact", lambda exact=exact: exact)
        assert cpu.prefer_onednn() is exact
        torch.backends.mkldnn.matmul.fp32_precision = "none"


@pytest.mark.parametrize(("frames", "keys"), [(7, 7), (50, 12), (20, 300)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_same(monkeypatch: pytest.MonkeyPatch, frames: int, keys: int, masked: bool) -> None:
    q, k, v = torch.randn(2, 3, frames, 8), torch.randn(2, 3, keys, 8), torch.randn(2, 3, keys, 8)
    mask = torch.arange(keys)[None, None, None] < torch.tensor([keys, keys // 2]).view(2, 1, 1, 1) if masked else None
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    monkeypatch.setattr(layers, "uses_onednn", lambda: True)
    torch.testing.assert_close(attend(q, k, v, mask), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_multiply_alike(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Of every number of rows, of rows that do not lie together, with and without a bias; only linear layers change."""
    monkeypatch.setattr(speed, "uses_onednn", lambda: True)
    plain = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Sequential(nn.Linear(96, 30, bias=False))).to(dtype)
    packed = copy.deepcopy(plain).requires_grad_(False)
    speed.pack_linears(packed)
    kinds = [type(module) for module in packed.modules()]
    assert (kinds.count(speed.PackedLinear), kinds.count(nn.Linear)) == (2, 0)
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    for x in (torch.randn(1, 48), torch.randn(2, 7, 48), torch.randn(70, 2, 48).transpose(0, 1), torch.randn(500, 48)):
        torch.testing.assert_close(packed(x.to(dtype)), plain(x.to(dtype)), rtol=tolerance, atol=tolerance)


def test_weights_that_onednn_does_not_multiply_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "uses_onednn", lambda: False)
    module = nn.Sequential(nn.Linear(4, 4))
    speed.pack_linears(module)
    assert type(module[0]) is nn.Linear


def test_choosing_a_device_tunes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `cpu.tune` does, once in the main of every script that computes."""
    monkeypatch.setattr(cpu, "prefer_onednn", pytest.fail)
    monkeypatch.setattr(cpu, "keep_freed_memory", pytest.fail)
    resolve_device("cpu")
    make_accelerator("no")


def test_fp32_is_fp32_on_a_gpu_too() -> None:
    """PyTorch lets cuDNN compute fp32 convolutions in TF32; nothing may be left of that."""
    cpu.tune()
    assert torch.backends.cudnn.conv.fp32_precision != "tf32"
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"


def test_every_script_that_computes_tunes_once() -> None:
    for path in ROOT.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        computes = "resolve_device" in source or "join_processes" in source or "prepare_run(" in source
        is_script = "\ndef main(" in source
        assert source.count("cpu.tune()") == (computes and is_script), path.name


def test_kept_memory_is_not_asked_of_the_system_again():
    """Page faults of large tensors that come and go, in a process of their own: thousands each, then none."""
    program = """
import resource, torch
from runtime.cpu import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
if keep_freed_memory():
    faults()
    print(first, faults())
"""
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if not said:
        pytest.skip("another allocator than glibc's")
    first, then = map(int, said.split())
    assert then < first / 10
