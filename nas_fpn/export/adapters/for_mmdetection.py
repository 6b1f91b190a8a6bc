"""mmdetection: the neck under a name of its own in the registry, and what a configuration says."""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.loading import fill
from nas_fpn.export.adapters.resnets import resnet_of

__all__ = ["files", "use"]

_SOURCE = '''\
"""For mmdetection: neck $id is ``type="$key"`` in a configuration.

``custom_imports = dict(imports=["for_mmdetection"])`` registers it, where this folder is on
PYTHONPATH; the README has the rest. Beside it: ``neck.py`` and its weights. It needs mmdet and
safetensors.
"""

from collections.abc import $abc
from pathlib import Path

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from safetensors.torch import load_file
from torch import Tensor, nn

$neck

INPUTS = $inputs  # the levels that the neck reads
IN_CHANNELS = $in_channels
FOLDER = Path(__file__).parent


@MODELS.register_module(name="$key")
class NeckOfFolder(BaseModule):
    """The neck as mmdetection has necks: a tuple of features in, a tuple out.

    ``in_channels`` are those of $read, finest first.
    The backbone's ``out_indices`` choose these.
    """

    def __init__(
        self, in_channels: Sequence[int] = IN_CHANNELS, *, neck_weights: bool = True
    ) -> None:
        super().__init__()
        self.neck = make_neck(in_channels, weights=neck_weights)

    def init_weights(self) -> None:
        """Leave the weights as they are: those of the folder, or the neck's own first ones."""

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Take $read [B, C, H, W] to $given."""
        if len(features) != len(INPUTS):
            raise ValueError(
                f"the neck reads levels {INPUTS}, but the backbone gives {len(features)} features: "
                f"for a ResNet set out_indices={tuple(k - 2 for k in INPUTS)}"
            )
        return self.neck(features)
'''

_USE = """\
_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"  # a configuration: my_retinanet.py
custom_imports = dict(imports=["for_mmdetection"])  # with this folder on PYTHONPATH
model = dict(
    backbone=dict({depth}out_indices={indices}),{other}
    neck=dict(_delete_=True, type="{key}", in_channels={in_channels}),
    bbox_head=dict(in_channels={out}, anchor_generator=dict(strides={strides})),
)
"""


def files(facts: Facts) -> dict[str, str]:
    """``for_mmdetection.py``."""
    return {"for_mmdetection.py": fill(_SOURCE, facts)}


def use(facts: Facts) -> str:
    """How it is used, for the README."""
    out, name = facts.out_channels, resnet_of(facts)
    depth = 'depth=18, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"), '
    return _USE.format(
        key=facts.key,
        depth=depth if name == "resnet18" else "",
        other="" if name is not None else "  # or one with the channels below",
        indices=tuple(level - 2 for level in facts.inputs),
        in_channels=list(facts.in_channels),
        out=out[0] if len(set(out)) == 1 else list(out),
        strides=list(facts.strides),
    )
