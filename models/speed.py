"""How trained networks run faster: matrix products in bf16 or int8, compiled code, weights packed for a CPU's products.

Each function changes a frozen network in place. The caller first copies a network that must stay as it is (the
evaluation's autoencoder).
"""

import warnings
from dataclasses import dataclass

import torch
import torch._inductor.config as inductor
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic

from models.layers import CrossAttention, FeedForward, SelfAttention
from runtime.cpu import uses_onednn
from runtime.errors import first_line
from runtime.precision import BF16, FP32, INT8

PACKED_FOR = 64  # rows for which oneDNN lays weights out; it has one layout for this many rows and more


@dataclass(frozen=True)
class Speed:
    """How a generator's products are computed: in fp32, bf16 or int8, as compiled code, from packed weights."""

    precision: str = FP32
    compiled: bool = False
    packed: bool = False


def speed_up(network: nn.Module, decoder: nn.Module, text_encoder: nn.Module, speed: Speed) -> None:
    """Speed up a frozen generator's parts. The text is read once, so its encoder is never compiled."""
    if speed.precision == BF16:
        for part in (network, decoder, text_encoder):
            use_bf16(part)
    for part in (network, decoder):
        if speed.precision == INT8:
            use_int8(part)
        if speed.compiled:
            compile_network(part)
    if speed.packed:
        for part in (network, decoder, text_encoder):
            pack_linears(part)


def use_bf16(network: nn.Module) -> None:
    """Keep the weights of linear layers in bf16, for products under bf16 autocast; the rest stays fp32."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)  # once, instead of at every product


def use_int8(network: nn.Module) -> None:
    """Multiply attention and feed-forward in dynamic int8, on a CPU.

    Weights are rounded once. Activations are rounded at every product, with one scale for the whole batch: sign clips
    one at a time, so that a clip does not depend on its batch.
    """
    products = SelfAttention | CrossAttention | FeedForward
    with warnings.catch_warnings():  # PyTorch's own quantisation will move to torchao; its version is pinned
        warnings.simplefilter("ignore")
        for module in [module for module in network.modules() if isinstance(module, products)]:
            quantize_dynamic(module, {nn.Linear}, inplace=True)


def compile_network(network: nn.Module) -> None:
    """Compile a module's `compiled_method` for any batch and length: one graph for single clips, one for batches.

    The first single clip and the first batch wait for the compiler. On a CPU the weights are laid out for its products,
    once (freezing). Other modules stay as they are: the compiler takes neither a complex FFT nor a gradient.
    """
    if not any(parameter.is_cuda for parameter in network.parameters()):
        inductor.freezing = True  # an option of torch.compile would be read too late, and silently ignored
    for module in network.modules():
        if method := getattr(module, "compiled_method", None):
            setattr(module, method, torch.compile(getattr(module, method), dynamic=True))


def why_not_compilable(device: torch.device) -> str | None:
    """The reason why PyTorch cannot compile the smallest function on `device`; None where it can."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except RuntimeError as error:  # no compiler, no Python headers, no Triton: each has an error of its own
        return first_line(error)
    return None


class PackedLinear(nn.Module):
    """A linear layer whose weight lies as oneDNN's products read it, for a CPU; its output is the same to the last bit.

    nn.Linear converts the weight to that layout at every product, which for a text's few tokens takes as long as the
    product itself. torch.compile packs through the same two operators. It has no gradient.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.dtype, self.bias = linear.weight.dtype, linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), PACKED_FOR)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.packed, self.bias, "none", [], "")


def pack_linears(module: nn.Module) -> None:
    """Replace every linear layer that oneDNN multiplies by a `PackedLinear`, except where sampling needs a gradient."""
    for name, child in module.named_children():
        if getattr(child, "differentiated_when_sampling", False):
            continue
        if type(child) is not nn.Linear:
            pack_linears(child)
        elif child.weight.dtype == torch.bfloat16 or (child.weight.dtype == torch.float32 and uses_onednn()):
            setattr(module, name, PackedLinear(child))
