"""transformers: a backbone that ``AutoBackbone`` makes, for DETR and its kin."""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.loading import fill
from nas_fpn.export.adapters.resnets import resnet_of

__all__ = ["files", "use"]

_SOURCE = '''\
"""For transformers: ``NeckConfig`` is a ``backbone_config``: a backbone with neck $id.

``AutoBackbone.from_config`` makes it once this file is imported, and so do the models that have a
backbone: Deformable DETR and others of several levels. Its stages are $given. Beside it:
``neck.py`` and its weights. It needs transformers and safetensors.
"""

from collections.abc import $abc
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PretrainedConfig, PreTrainedModel, ResNetConfig
from transformers.modeling_outputs import BackboneOutput

$neck

try:
    from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
except ImportError:  # before transformers 5
    from transformers.utils.backbone_utils import BackboneConfigMixin, BackboneMixin

INPUTS = $inputs  # the levels that the neck reads
IN_CHANNELS = $in_channels
LEVELS = $levels  # those that it gives: level k has stride 2^k
OUT_CHANNELS = $out_channels
FOLDER = Path(__file__).parent


class NeckConfig(BackboneConfigMixin, PretrainedConfig):
    """A backbone's configuration, and which features of the neck are given.

    ``backbone_config`` has ``out_features`` for $read, finest first;
    by default it is a ResNet-50.
    ``out_features`` or ``out_indices`` choose among $given, all by default.
    """

    model_type = "$key"
    sub_configs: ClassVar = {"backbone_config": AutoConfig}

    def __init__(
        self,
        backbone_config: PretrainedConfig | dict | None = None,
        *,
        neck_weights: bool = True,
        out_features: list[str] | None = None,
        out_indices: list[int] | None = None,
        **others: object,
    ) -> None:
        if backbone_config is None:
            stages = [f"stage{level - 1}" for level in INPUTS]
            backbone_config = ResNetConfig(out_features=stages)
        elif isinstance(backbone_config, dict):
            backbone_config = AutoConfig.for_model(**backbone_config)
        self.backbone_config = backbone_config
        self.neck_weights = neck_weights
        super().__init__(**others)
        self.stage_names = [f"p{level}" for level in LEVELS]
        if out_features is None and out_indices is None:
            out_features = self.stage_names
        self.set_output_features_output_indices(out_features, out_indices)


class BackboneWithNeck(BackboneMixin, PreTrainedModel):
    """A backbone's features through the neck."""

    config_class = NeckConfig
    main_input_name = "pixel_values"
    has_attentions = False

    def __init__(self, config: NeckConfig) -> None:
        super().__init__(config)
        self.backbone = AutoBackbone.from_config(config.backbone_config)
        device = next(self.backbone.parameters()).device
        # from_pretrained makes a model without memory first, into which nothing can be loaded
        with torch.device("cpu" if device.type == "meta" else device):
            self.neck = make_neck(self.backbone.channels, weights=config.neck_weights)
        self.num_features = list(OUT_CHANNELS)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the weights as they are: the neck's are those of the folder, or its own."""

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[tuple[Tensor, ...]]:
        """Take images [B, 3, H, W] to ``feature_maps`` [B, C, h, w], finest first."""
        outputs = self.neck(self.backbone(pixel_values).feature_maps)
        maps = tuple(outputs[k] for k in self.out_indices)
        if return_dict is False:
            return (maps,)
        return BackboneOutput(feature_maps=maps)


AutoConfig.register(NeckConfig.model_type, NeckConfig, exist_ok=True)
AutoBackbone.register(NeckConfig, BackboneWithNeck, exist_ok=True)
'''

_USE = """\
from for_transformers import NeckConfig
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

backbone = {backbone}
config = DeformableDetrConfig(
    backbone_config=NeckConfig(backbone{weights}), num_feature_levels={levels}, num_labels=91
)
model = DeformableDetrForObjectDetection(config)
"""
_RESNET = {
    "resnet18": 'layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512],\n    ',
    "resnet50": "",
}


def files(facts: Facts) -> dict[str, str]:
    """``for_transformers.py``."""
    return {"for_transformers.py": fill(_SOURCE, facts)}


def use(facts: Facts) -> str:
    """How it is used, for the README."""
    name = resnet_of(facts)
    stages = ", ".join(f'"stage{level - 1}"' for level in facts.inputs)
    made = f"{_RESNET[name or 'resnet50']}out_features=[{stages}]"
    text = (
        f"ResNetConfig({made})"
        if not _RESNET[name or "resnet50"]
        else f"ResNetConfig(\n    {made}\n)"
    )
    return _USE.format(
        backbone=text,
        weights="" if name is not None else ", neck_weights=False",
        levels=len(facts.levels),
    )
