"""The selective scan of Mamba (Gu & Dao 2023, arXiv 2312.00752) in plain PyTorch, with its gradient written out.

Shapes, with the names of the paper:

    b  batch                 A  [d,n] < 0, how fast each number of state fades
    l  length                B  [b,l,n] how input enters the state
    d  channels              C  [b,l,n] how the state is read
    n  states per channel    u  [b,l,d] what goes into the scan
    k  steps of l that are computed together, a block
    delta  [b,l,d] > 0, the step size: large takes the input in, small passes it over
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from runtime.cpu import small_products

MIN_BLOCK_STEPS = 16  # the scan stores a state every so many steps, or less often, for its backward pass
BUFFER_ELEMENTS = 2**19  # numbers per thread in a scratch buffer of the scan: as many as a core's caches hold
CUDA_BUFFER_ELEMENTS = 2**26


def selective_scan_reference(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence of the paper (Algorithm 2), a step at a time: slow, and what `selective_scan` must equal.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,  y_t = C_t h_t
    u, delta [b,l,d], A [d,n], B, C [b,l,n] -> y [b,l,d]
    """
    state = u.new_zeros(u.shape[0], *A.shape)  # [b,d,n]
    outputs = []
    for i in range(u.shape[1]):
        decay = torch.exp(delta[:, i, :, None] * A)  # [b,d,n]
        state = decay * state + (delta[:, i] * u[:, i])[:, :, None] * B[:, i, None, :]
        outputs.append((state * C[:, i, None, :]).sum(-1))  # [b,d]
    return torch.stack(outputs, dim=1)


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Equal to `selective_scan_reference`, four times faster to train, with little memory; differentiable once."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False), small_products():
        return _SelectiveScan.apply(*(x.to(dtype) for x in (u, delta, A, B, C)))


class _SelectiveScan(torch.autograd.Function):
    """The scan, in blocks of a few clips by k steps, with its gradient written out.

    Nothing of size [b,l,n,d] is ever held: forward keeps the state at the start of each block, backward computes the
    states of one block again. Buffers are [k,b,n,d], time first so that a step of the recurrence is one fused operation
    on one contiguous piece, channels last so that it runs on whole vectors, and small enough to stay in the caches.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        (b, length, d), n = u.shape, A.shape[1]
        A_nd = A.t().contiguous()
        A_log2 = A_nd / math.log(2)
        rows, k = _block_shape(u, n)
        buffers = u.new_empty(2, k + 1, rows, n, d)
        starts = u.new_empty(math.ceil(length / k), b, n, d)
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
        for clips in _slices(b, rows):
            starts[0, clips] = 0
            for i, span in enumerate(_slices(length, k)):
                u_k, delta_k, B_k, C_k = _block(clips, span, u, delta, B, C)
                steps = len(u_k)
                _, states = _run_block(buffers, starts[i, clips], delta_k, delta_k * u_k, A_log2, B_k)
                y_k = torch.bmm(C_k.view(-1, 1, n), states[1:].view(-1, n, d))  # [k*b,1,d]
                y[clips, span] = y_k.view(steps, -1, d).transpose(0, 1)
                if span.stop < length:
                    starts[i + 1, clips] = states[steps]
        ctx.save_for_backward(u, delta, A_nd, B, C, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_y: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(grad_y.device.type, enabled=False), small_products():
            return _scan_backward(*ctx.saved_tensors, grad_y)


def _scan_backward(
    u: Tensor, delta: Tensor, A_nd: Tensor, B: Tensor, C: Tensor, starts: Tensor, grad_y: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of u, delta, A, B, C; `starts` [blocks,b,n,d] holds the state before each block."""
    (b, length, d), n = u.shape, len(A_nd)
    A_log2 = A_nd / math.log(2)
    rows, k = _block_shape(u, n)
    buffers, grad_buffer = u.new_empty(2, k + 1, rows, n, d), u.new_empty(k, rows, n, d)
    grad_u, grad_delta, grad_B, grad_C = (u.new_empty(x.shape) for x in (u, delta, B, C))
    grad_A = u.new_zeros(rows, n, d)
    for clips in _slices(b, rows):
        carry = 0.0  # what later blocks add to the gradient of this block's last state
        for i, span in reversed(list(enumerate(_slices(length, k)))):
            u_k, delta_k, B_k, C_k, grad_y_k = _block(clips, span, u, delta, B, C, grad_y)
            steps, size = u_k.shape[:2]
            delta_u = delta_k * u_k
            decay, states = _run_block(buffers, starts[i, clips], delta_k, delta_u, A_log2, B_k)

            # dL/dh_t = C_t dL/dy_t + exp(delta_{t+1} A) dL/dh_{t+1}
            grad = _front(grad_buffer, steps, size)
            torch.mul(C_k[:, :, :, None], grad_y_k[:, :, None, :], out=grad)
            grad[-1] += carry
            grads, decays = grad.unbind(), decay.unbind()
            for j in reversed(range(1, steps)):
                grads[j - 1].addcmul_(decays[j], grads[j])
            carry = decays[0] * grads[0]

            grad_flat, states_flat = grad.view(-1, n, d), states[1:].view(-1, n, d)
            grad_C_k = torch.bmm(grad_y_k.view(-1, 1, d), states_flat.transpose(1, 2)).view(steps, size, n)
            grad_B_k = torch.bmm(delta_u.view(-1, 1, d), grad_flat.transpose(1, 2)).view(steps, size, n)
            grad_delta_u = torch.bmm(B_k.view(-1, 1, n), grad_flat).view(steps, size, d)

            # dL/d(delta_t A) = dL/dh_t exp(delta_t A) h_{t-1}
            grad.mul_(states[:-1]).mul_(decay)
            grad_A_k = grad_A[:size]
            for grad_j, delta_j in zip(grads, delta_k[:, :, None, :], strict=True):
                grad_A_k.addcmul_(grad_j, delta_j)
            grad_delta_k = grad.mul_(A_nd).sum(2).addcmul_(grad_delta_u, u_k)

            parts = (grad_delta_u * delta_k, grad_delta_k, grad_B_k, grad_C_k)
            for whole, part in zip((grad_u, grad_delta, grad_B, grad_C), parts, strict=True):
                whole[clips, span] = part.transpose(0, 1)
    return grad_u, grad_delta, grad_A.sum(0).t(), grad_B, grad_C


def _run_block(
    buffers: Tensor, start: Tensor, delta: Tensor, delta_u: Tensor, A_log2: Tensor, B: Tensor
) -> tuple[Tensor, Tensor]:
    """Decay [k,b,n,d] and the states [k+1,b,n,d] from `start` on, in `buffers`; delta, delta_u [k,b,d], B [k,b,n]."""
    steps, size = delta.shape[:2]
    decay, states = _front(buffers[0], steps, size), _front(buffers[1], steps + 1, size)
    torch.mul(delta[:, :, None, :], A_log2, out=decay).exp2_()  # three times as fast as MKL's exp
    torch.mul(B[:, :, :, None], delta_u[:, :, None, :], out=states[1:])
    states[0] = start
    for (before, after), fade in zip(pairwise(states), decay, strict=True):
        after.addcmul_(fade, before)
    return decay, states


def _block_shape(u: Tensor, n: int) -> tuple[int, int]:
    """Clips and steps of a block, so that a buffer [k,b,n,d] keeps to its size and blocks are not too short."""
    b, length, d = u.shape
    elements = CUDA_BUFFER_ELEMENTS if u.is_cuda else BUFFER_ELEMENTS * torch.get_num_threads()
    rows = min(b, max(1, elements // (MIN_BLOCK_STEPS * n * d)))
    return rows, min(length, max(MIN_BLOCK_STEPS, elements // (rows * n * d)))


def _slices(total: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def _block(clips: slice, span: slice, *sequences: Tensor) -> Iterator[Tensor]:
    """Cut a block from sequences [b,l,x], as contiguous [k,b,x]."""
    return (x[clips, span].transpose(0, 1).contiguous() for x in sequences)


def _front(buffer: Tensor, steps: int, size: int) -> Tensor:
    """The front of a buffer's memory as a contiguous [steps,size,n,d]."""
    return buffer.view(-1, *buffer.shape[2:])[: steps * size].view(steps, size, *buffer.shape[2:])
