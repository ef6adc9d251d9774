"""Which library multiplies fp32 matrices on a CPU, in which layout, and how memory is reused.

PyTorch uses MKL, which does not use AVX-512 on AMD processors. oneDNN, which PyTorch also contains, is twice as fast
there, in training and in sampling. PyTorch passes fp32 products to oneDNN only if oneDNN may use bf16 inside. A
processor without bf16 tiles (AMX) still computes in fp32 then, which `prefer_onednn` checks before it keeps oneDNN.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**30  # bytes


def tune() -> None:
    """Make PyTorch fast on this processor. A script that computes calls it once, at the start of its main.

    It also keeps a GPU from TF32, in which cuDNN computes the convolutions of fp32: a thousand times less exact.
    """
    prefer_onednn()
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = False


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of freed large tensors for the next ones; returns whether it does.

    By default it returns this memory to the system and gets it back page by page, zeroed, which makes batches of 32
    clips a fifth slower. The kept memory is not returned before the process ends.
    """
    if not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(ctypes.c_int(option), ctypes.c_int(KEPT)) for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))


def prefer_onednn() -> bool:
    """Let oneDNN multiply fp32 matrices if it is faster and as exact; returns whether it does."""
    processor = torch.cpu.get_capabilities()
    if not processor.get("cpu_name", "").startswith("AMD") or not processor.get("avx512_f"):
        return False
    if processor.get("amx_tile") or not torch.backends.mkldnn.is_available():
        return False
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    if not _exact():
        torch.backends.mkldnn.matmul.fp32_precision = before
    return uses_onednn()


@contextmanager
def small_products() -> Iterator[None]:
    """Multiply by PyTorch's own choice within this block: for many small products it is up to five times quicker."""
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


@torch.compiler.assume_constant_result
def uses_onednn() -> bool:
    return torch.backends.mkldnn.matmul.fp32_precision == "bf16"


def _exact() -> bool:
    """Whether products are right to fp32: bf16 misses by a thousand times more."""
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 512, generator=draw), torch.randn(512, 256, generator=draw)
    exact = a.double() @ b.double()
    return bool((a @ b - exact).abs().max() < 1e-5 * exact.abs().max())
