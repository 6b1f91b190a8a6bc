"""A backbone that comes with weights: what of it stands still, and how its features are scaled.

Standard practice: the stem and the first stage keep their weights, and batch norms their statistics
(He et al. 2017, arXiv:1703.06870, section 3.1), as batches of a detector are small.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas_fpn.detect.dataset import Dataset, spread_evenly
from nas_fpn.detect.images import load_image

__all__ = ["Standardised", "freeze", "measure", "stand_still"]

MEASURED = 64  # images
FLAT = 1e-6  # a channel that moves less is constant: its std counts as 1, as in the proxy's bank

Statistics = Mapping[int, tuple[Tensor, Tensor]]


class Standardised(nn.Module):
    """A backbone's features by level as (c - mean) / std, channel by channel.

    Necks are searched on such features, so they meet them again here. ``levels`` and ``channels``
    (by level) are those of the backbone; levels without statistics pass as they are.
    """

    def __init__(self, backbone: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.backbone = backbone
        self.levels: tuple[int, ...] = tuple(backbone.levels)  # type: ignore[arg-type]
        self.channels: dict[int, int] = dict(backbone.channels)  # type: ignore[arg-type]
        for level in self.levels:
            channels = self.channels[level]
            mean, std = statistics.get(level, (torch.zeros(channels), torch.ones(channels)))
            self.register_buffer(f"mean_c{level}", mean.clone().float().view(1, -1, 1, 1))
            self.register_buffer(f"std_c{level}", std.clone().float().view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """[B, 3, S, S] in 0..1 to one [B, C, H, W] by level."""
        features = self.backbone(images)
        return {
            level: (feature - self.get_buffer(f"mean_c{level}")) / self.get_buffer(f"std_c{level}")
            for level, feature in features.items()
        }

    @property
    def net(self) -> nn.Module:
        """The backbone's own net, behind its input statistics."""
        return getattr(self.backbone, "net", self.backbone)

    def statistics(self) -> dict[str, Tensor]:
        """``mean.c4`` and ``std.c4`` [C], as they lie beside an exported neck."""
        return {
            f"{kind}.c{level}": self.get_buffer(f"{kind}_c{level}").detach().cpu().flatten()
            for kind in ("mean", "std")
            for level in self.levels
        }


@torch.no_grad()
def measure(
    backbone: nn.Module, dataset: Dataset, *, image_size: int
) -> dict[int, tuple[Tensor, Tensor]]:
    """Mean and standard deviation [C] of each level, over up to 64 images of the data set."""
    was_training = backbone.training
    backbone.eval()
    sums: dict[int, Tensor] = {}
    for image in spread_evenly(dataset, MEASURED).images:
        pixels, _ = load_image(image.path, image_size)
        for level, feature in backbone(pixels[None].float() / 255).items():
            moments = torch.stack((feature.mean((0, 2, 3)), feature.square().mean((0, 2, 3))))
            sums[level] = sums.get(level, torch.zeros(())) + torch.stack(
                (*moments.double(), torch.ones_like(moments[0]).double())
            )
    backbone.train(was_training)
    found = {}
    for level, (total, squares, count) in sums.items():
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        found[level] = (mean.float(), torch.where(std > FLAT, std, 1.0).float())
    return found


def freeze(backbone: nn.Module, *, level: int, norms: bool) -> tuple[nn.Module, ...]:
    """Stop the gradients of a backbone's stages up to ``level``, and of all its batch norms.

    The stages are those that a timm model's ``feature_info`` names; a module without one has
    only its norms frozen. Returns the modules that :func:`stand_still` keeps in evaluation mode.
    """
    still = list(_up_to(backbone, level))
    if norms:
        still += [part for part in backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in still:
        for parameter in part.parameters(recurse=False):
            parameter.requires_grad_(False)
    return tuple(dict.fromkeys(still))


def stand_still(parts: tuple[nn.Module, ...]) -> None:
    """Keep these modules in evaluation mode, without those inside them; after every ``train()``."""
    for part in parts:
        part.training = False


def _up_to(backbone: nn.Module, level: int) -> Iterator[nn.Module]:
    """The modules up to the stage of ``level``: timm registers them in the order they run."""
    for net in backbone.modules():
        stages: Any = getattr(net, "feature_info", None)
        if stages is None:
            continue
        names = [s["module"] for s in stages.info if s["reduction"] <= 2**level]
        if not names:
            return
        last, begun = names[-1], False
        for name, part in net.named_modules():
            is_last = name in (last, last.replace(".", "_", 1)) or name.startswith(
                (f"{last}.", f"{last.replace('.', '_', 1)}.")
            )
            if begun and not is_last:
                return
            begun = begun or is_last
            if name:
                yield part
        return
