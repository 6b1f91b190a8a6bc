"""Weights with the norms in them: the state of a module in its deployed form.

A batch normalisation in evaluation mode is a scale and a shift of each channel, ``s x + t`` with
``s = gamma / sqrt(var + eps)`` and ``t = beta - mean s``, so a convolution beside it can have both
in its own weights. Computed in 64 bits, given in the weights' own precision. Merging branches as
in RepVGG: Ding et al. 2021, arXiv:2101.03697.
"""

import torch
from torch import Tensor, nn

from nas_fpn.necks.esd import Esd1, Esd2
from nas_fpn.necks.fusion import Asff
from nas_fpn.necks.merges import Fast, Softmax, Weighted
from nas_fpn.necks.operand_weights import normalised
from nas_fpn.necks.repconv import RepConv, fuse_repconv
from nas_fpn.necks.slim import ConvNorm

__all__ = ["ahead", "behind", "folded_state"]

_PAIRED: dict[type[nn.Module], str] = {
    Asff: "embeddings",
    Esd1: "convolutions",
    Esd2: "convolutions",
}
"""Which list of convolutions has its norms, in the same order, in the list ``norms``."""


def folded_state(module: nn.Module) -> dict[str, Tensor]:
    """Give the state that ``module``'s deployed form loads."""
    if isinstance(module, ConvNorm):
        weight, bias = behind(module.conv.weight, module.conv.bias, module.norm)
        return {"conv.weight": weight, "conv.bias": bias}
    if isinstance(module, RepConv):
        return dict(fuse_repconv(module).state_dict())
    if isinstance(module, Fast | Softmax | Weighted):
        return {"weight": normalised(module)}
    found = {name: value for name, value in module.state_dict().items() if "." not in name}
    paired = _PAIRED.get(type(module))
    for name, child in module.named_children():
        if name == paired:
            for number, convolution in child.named_children():
                norm = module.get_submodule(f"norms.{number}")
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                weight, bias = behind(convolution.weight, convolution.bias, norm)
                found |= {f"{name}.{number}.weight": weight, f"{name}.{number}.bias": bias}
        elif paired is None or name != "norms":
            found |= {f"{name}.{key}": value for key, value in folded_state(child).items()}
    return found


def behind(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d, *, axis: int = 0
) -> tuple[Tensor, Tensor]:
    """Fold a norm into the convolution before it; ``axis`` of ``weight`` are its outputs."""
    scale, shift = _affine(norm)
    shape = [-1 if k == axis else 1 for k in range(weight.dim())]
    kernel = weight.double() * scale.view(shape)
    offset = shift if bias is None else bias.double() * scale + shift
    return kernel.to(weight.dtype), offset.to(weight.dtype)


def ahead(norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fold a norm into the 1x1 convolution that reads it: ``weight`` is [C', C, 1, 1]."""
    scale, shift = _affine(norm)
    offset = weight.double()[:, :, 0, 0] @ shift
    kernel = weight.double() * scale.view(1, -1, 1, 1)
    offset = offset if bias is None else bias.double() + offset
    return kernel.to(weight.dtype), offset.to(weight.dtype)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The scale and the shift of each channel, in 64 bits."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale
