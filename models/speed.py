"""How the networks run faster with the same weights: bf16, int8, compiled code, packed weights."""

import torch
from torch import Tensor, nn

from runtime.cpu import uses_onednn

PACKED_FOR = 64  # rows that oneDNN lays weights out for; from that size on it is the layout of any number of rows


class PackedLinear(nn.Module):
    """A linear layer whose weight lies as oneDNN's products read it, for inference on a CPU: the same to the last bit.

    nn.Linear has the weight brought into that layout at every product, which for a text's few tokens takes as long as
    the product itself. torch.compile packs through the same two operators.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.dtype, self.bias = linear.weight.dtype, linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), PACKED_FOR)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.packed, self.bias, "none", [], "")


def pack_linears(module: nn.Module) -> None:
    """Put a `PackedLinear` in the place of every linear layer that oneDNN multiplies. The module is then frozen."""
    for name, child in module.named_children():
        if type(child) is not nn.Linear:
            pack_linears(child)
        elif child.weight.dtype == torch.bfloat16 or (child.weight.dtype == torch.float32 and uses_onednn()):
            setattr(module, name, PackedLinear(child))
