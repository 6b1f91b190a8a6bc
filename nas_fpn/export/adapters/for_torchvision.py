"""torchvision: a backbone for ``FCOS``, ``RetinaNet`` and ``FasterRCNN``, with anchors that fit.

Names follow ``torchvision.models.detection.backbone_utils``: features are called ``"0"``, ``"1"``
…, which is what its detectors pool from where nothing else is said.
"""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.loading import fill
from nas_fpn.export.adapters.resnets import resnet_of
from nas_fpn.export.header import span

__all__ = ["fault", "files", "use"]

_COARSEST_POOLED = 5  # as FPN has it: p6 is for proposals only
_FCOS_GROUPS = 32  # of the group norms in its head, which divide the channels

_SOURCE = '''\
"""For torchvision: a backbone with neck $id, which its detectors take as ``backbone``.

``BackboneWithNeck`` is like ``BackboneWithFPN``: images to an ordered dict "0", "1", … of $given.
The anchors and the pooling below are for these levels: ``FCOS``, ``RetinaNet`` and ``FasterRCNN``
take them by name. Beside it: ``neck.py`` and its weights. It needs torchvision and safetensors.
"""

from collections import OrderedDict
from collections.abc import $abc
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

$neck

INPUTS = $inputs  # the levels that the neck reads
IN_CHANNELS = $in_channels
STRIDES = $strides  # of the levels that it gives
FOLDER = Path(__file__).parent


class BackboneWithNeck(nn.Module):
    """A backbone's features through the neck.

    ``body`` takes images to a list or a dict of features, finest first: $read,
    of ``in_channels``.
    """

    def __init__(
        self,
        body: nn.Module,
        in_channels: Sequence[int] = IN_CHANNELS,
        *,
        neck_weights: bool = True,
    ) -> None:
        super().__init__()
        self.body = body
        self.neck = make_neck(in_channels, weights=neck_weights)
        self.out_channels = $channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Take images [B, 3, H, W] to features [B, C, h, w] by name, finest first."""
        features = self.neck(self.body(images))
        return OrderedDict((str(k), feature) for k, feature in enumerate(features))


class WholeBackbone(nn.Module):
    """The ``Model`` of ``with_backbone/``, which takes images in 0..1 and normalises them itself.

    Tell the detector so: ``image_mean=[0, 0, 0], image_std=[1, 1, 1]``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.out_channels = $channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Take images [B, 3, H, W] to features [B, C, h, w] by name, finest first."""
        features = self.model(images).values()
        return OrderedDict((str(k), feature) for k, feature in enumerate(features))


def resnet_with_neck(
    name: str = "$resnet",
    *,
    weights: WeightsEnum | str | None = None,
    neck_weights: bool = True,
    trainable_layers: int | None = None,
) -> BackboneWithNeck:
    """Make a ResNet of torchvision, with its ``weights`` or untrained, and the neck.

    With weights, the norms are frozen and the last three of the five ``trainable_layers`` learn, as
    in torchvision's own detectors; without, all of it learns.
    """
    norm = nn.BatchNorm2d if weights is None else FrozenBatchNorm2d
    net = get_model(name, weights=weights, norm_layer=norm)
    kept = trainable_layers if trainable_layers is not None else 5 if weights is None else 3
    learns = ["layer4", "layer3", "layer2", "layer1", "conv1", "bn1"][: kept if kept < 5 else 6]
    for layer, module in net.named_children():
        module.requires_grad_(layer in learns)
    body = IntermediateLayerGetter(net, {f"layer{k - 1}": f"c{k}" for k in INPUTS})
    in_channels = [net.inplanes // 32 * 2**k for k in INPUTS]
    return BackboneWithNeck(body, in_channels, neck_weights=neck_weights)


def retinanet_anchors() -> AnchorGenerator:
    """Give three sizes within an octave, from four times the stride, of three shapes each."""
    octave = [2 ** (k / 3) for k in range(3)]
    sizes = tuple(tuple(int(4 * stride * step) for step in octave) for stride in STRIDES)
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(STRIDES))


def fcos_anchors() -> AnchorGenerator:
    """Give one a place, as large as the stride."""
    return AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))


def faster_rcnn_anchors() -> AnchorGenerator:
    """Give one size a level, eight times the stride, of three shapes."""
    sizes = tuple((8 * stride,) for stride in STRIDES)
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(STRIDES))


def faster_rcnn_pool() -> MultiScaleRoIAlign:
    """Pool boxes from $pooled, by their size."""
    return MultiScaleRoIAlign($pools, output_size=7, sampling_ratio=2)
'''

_USE = """\
from torchvision.models.detection import {detectors}
from for_torchvision import faster_rcnn_anchors, faster_rcnn_pool, {maker}
from for_torchvision import {anchors}

backbone = {backbone}
model = RetinaNet(backbone, num_classes=91, anchor_generator=retinanet_anchors())
{fcos}model = FasterRCNN(
    backbone, 91, rpn_anchor_generator=faster_rcnn_anchors(), box_roi_pool=faster_rcnn_pool()
)
"""

_FCOS = "model = FCOS(backbone, num_classes=91, anchor_generator=fcos_anchors())\n"


def fault(facts: Facts) -> str | None:
    """Why torchvision cannot take the neck: one number of channels serves all its levels."""
    if len(set(facts.out_channels)) == 1:
        return None
    return f"its detectors take one number of channels, but {facts.given} have {facts.out_channels}"


def files(facts: Facts) -> dict[str, str]:
    """``for_torchvision.py``."""
    pooled = [level for level in facts.levels if level <= _COARSEST_POOLED] or facts.levels[:1]
    text = fill(
        _SOURCE,
        facts,
        channels=facts.out_channels[0],
        resnet=resnet_of(facts) or "resnet50",
        pooled=span("p", pooled),
        pools="[" + ", ".join(f'"{k}"' for k in range(len(pooled))) + "]",
    )
    return {"for_torchvision.py": text}


def use(facts: Facts) -> str:
    """How it is used, for the README."""
    name = resnet_of(facts)
    maker = "BackboneWithNeck" if name is None else "resnet_with_neck"
    made = "BackboneWithNeck(body)" if name is None else f'resnet_with_neck("{name}")'
    fits = facts.out_channels[0] % _FCOS_GROUPS == 0
    return _USE.format(
        maker=maker,
        backbone=made,
        detectors="FCOS, FasterRCNN, RetinaNet" if fits else "FasterRCNN, RetinaNet",
        anchors="fcos_anchors, retinanet_anchors" if fits else "retinanet_anchors",
        fcos=_FCOS if fits else "",
    )
