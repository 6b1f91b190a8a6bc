"""detectron2: a ``Backbone`` with the neck in it, under a name of its own in the registry."""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.loading import fill
from nas_fpn.export.adapters.resnets import resnet_of

__all__ = ["files", "use"]

_SOURCE = '''\
"""For detectron2: ``build_${key}_backbone`` is a backbone of its registry.

It is the ResNet of the configuration with neck $id behind it, as ``build_resnet_fpn_backbone``
is with an FPN: $given by name. ``import for_detectron2`` registers it. Beside it: ``neck.py`` and
its weights. It needs detectron2 and safetensors.
"""

from collections.abc import $abc
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_resnet_backbone
from safetensors.torch import load_file
from torch import Tensor, nn

$neck

INPUTS = $inputs  # the levels that the neck reads
IN_CHANNELS = $in_channels
LEVELS = $levels  # those that it gives: level k has stride 2^k
OUT_CHANNELS = $out_channels
FOLDER = Path(__file__).parent


class BackboneWithNeck(Backbone):
    """A backbone's features through the neck: $given by name.

    ``in_features`` are the names of $read in ``bottom_up``.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str] = $stages,
        *,
        neck_weights: bool = True,
    ) -> None:
        super().__init__()
        shapes = bottom_up.output_shape()
        missing = [name for name in in_features if name not in shapes]
        if missing:
            raise ValueError(
                f"the backbone gives {list(shapes)}, not {missing}: "
                f"set MODEL.RESNETS.OUT_FEATURES to {list(in_features)}"
            )
        strides = [shapes[name].stride for name in in_features]
        if strides != [2**level for level in INPUTS]:
            raise ValueError(f"the neck reads levels {INPUTS}, but the strides are {strides}")
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        in_channels = [shapes[name].channels for name in in_features]
        self.neck = make_neck(in_channels, weights=neck_weights)

    @property
    def size_divisibility(self) -> int:
        """Images are padded to whole cells of the coarsest feature read, as for an FPN."""
        return 2 ** INPUTS[-1]

    @property
    def padding_constraints(self) -> dict[str, int]:
        """What the backbone below asks for, if anything."""
        return self.bottom_up.padding_constraints

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Take images [B, 3, H, W] to features [B, C, h, w] by name, finest first."""
        features = self.bottom_up(images)
        outputs = self.neck([features[name] for name in self.in_features])
        return {f"p{level}": feature for level, feature in zip(LEVELS, outputs, strict=True)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature."""
        rows = zip(LEVELS, OUT_CHANNELS, strict=True)
        return {f"p{k}": ShapeSpec(channels=channels, stride=2**k) for k, channels in rows}


@BACKBONE_REGISTRY.register()
def build_${key}_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> BackboneWithNeck:
    """Make the ResNet of the configuration and the neck, with the weights of this folder."""
    return BackboneWithNeck(build_resnet_backbone(cfg, input_shape))
'''

_USE = """\
import for_detectron2  # registers the backbone
from detectron2 import model_zoo

cfg = model_zoo.get_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
cfg.MODEL.BACKBONE.NAME = "build_{key}_backbone"
cfg.MODEL.RESNETS.OUT_FEATURES = {stages}{depth}
cfg.MODEL.RETINANET.IN_FEATURES = {features}
sizes = [[4 * s * 2 ** (k / 3) for k in range(3)] for s in {strides}]
cfg.MODEL.ANCHOR_GENERATOR.SIZES = sizes
"""


def files(facts: Facts) -> dict[str, str]:
    """``for_detectron2.py``."""
    stages = tuple(f"res{level}" for level in facts.inputs)
    written = ", ".join(f'"{name}"' for name in stages)
    text = fill(_SOURCE, facts, stages=f"({written}{',' if len(stages) == 1 else ''})")
    return {"for_detectron2.py": text}


def use(facts: Facts) -> str:
    """How it is used, for the README."""
    stages = ", ".join(f'"res{level}"' for level in facts.inputs)
    features = ", ".join(f'"p{level}"' for level in facts.levels)
    small = "\ncfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64"
    none = f"  # its channels must be {list(facts.in_channels)}"
    return _USE.format(
        depth={"resnet18": small, "resnet50": ""}.get(resnet_of(facts) or "", none),
        key=facts.key,
        stages=f"[{stages}]",
        features=f"[{features}]",
        strides=list(facts.strides),
    )
