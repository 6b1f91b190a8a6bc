"""timm: a ``features_only`` model of any name with the neck behind it, again a features_only one.

``--with-backbone`` is the other way: one backbone, with its weights, in the exported folder.
"""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.loading import fill
from nas_fpn.export.adapters.resnets import resnet_of

__all__ = ["files", "use"]

_SOURCE = '''\
"""For timm: any of its models with neck $id behind it, used as ``features_only`` ones are.

It takes images to a list of $given and has ``feature_info``. Beside it: ``neck.py`` and its
weights. It needs timm and safetensors.
"""

from collections.abc import $abc
from pathlib import Path

import timm
from safetensors.torch import load_file
from timm.models import FeatureInfo
from torch import Tensor, nn

$neck

INPUTS = $inputs  # the levels that the neck reads
IN_CHANNELS = $in_channels
LEVELS = $levels  # those that it gives: level k has stride 2^k
FOLDER = Path(__file__).parent


class FeaturesWithNeck(nn.Module):
    """A timm model's features through the neck.

    ``name`` is a model of timm with strides $reads; ``pretrained`` takes timm's
    weights of it.
    """

    def __init__(self, name: str, *, pretrained: bool = False, neck_weights: bool = True) -> None:
        super().__init__()
        strides = timm.create_model(name, features_only=True).feature_info.reduction()
        missing = [2**level for level in INPUTS if 2**level not in strides]
        if missing:
            raise ValueError(f"{name} has features of strides {strides}, none of {missing}")
        last = {stride: stage for stage, stride in enumerate(strides)}
        stages = tuple(last[2**level] for level in INPUTS)
        self.body = timm.create_model(
            name, features_only=True, out_indices=stages, pretrained=pretrained
        )
        self.channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        in_channels = self.body.feature_info.channels()
        self.neck = make_neck(in_channels, weights=neck_weights)
        rows = zip(LEVELS, $out_channels, strict=True)
        info = [{"num_chs": n, "reduction": 2**k, "module": f"neck.p{k}"} for k, n in rows]
        self.feature_info = FeatureInfo(info, out_indices=tuple(range(len(LEVELS))))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Take images [B, 3, H, W], normalised as timm's, to features [B, C, h, w]."""
        features = self.body(images)
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return list(self.neck(features))
'''


def files(facts: Facts) -> dict[str, str]:
    """``for_timm.py``."""
    reads = ", ".join(str(2**level) for level in facts.inputs)
    return {"for_timm.py": fill(_SOURCE, facts, reads=reads)}


def use(facts: Facts) -> str:
    """How it is used, for the README."""
    name = resnet_of(facts)
    made = f'"{name}"' if name is not None else '"resnet50", neck_weights=False'
    rows = ["from for_timm import FeaturesWithNeck", "", f"model = FeaturesWithNeck({made})"]
    if name is None:
        rows.append(f"# the neck's weights go with a model of {facts.in_channels} channels")
    rows.append("print(model.feature_info.channels(), model.feature_info.reduction())")
    rows.append("features = model.eval()(images)  # a list, finest first")
    return "\n".join(rows) + "\n"
