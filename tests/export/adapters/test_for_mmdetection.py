"""The adapter for mmdetection: with a fake of its interface, and with mmdetection where it is.

The fake has what the adapter touches: a registry that is decorated with, and mmengine's module with
``init_weights``. The real one is run without mmcv's compiled operations, which torch's newest have
no build of: an empty module stands in their place, and nothing that is run here calls it.

    pip install --no-deps mmdet==3.3.0 mmengine mmcv-lite==2.1.0 addict yapf terminaltables \
        termcolor opencv-python-headless 'setuptools<80'
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from tests.export.adapters.adapted import adapt, adapter, neck_of, run_alone, scaled, snippet

MISSING = [name for name in ("mmdet", "mmengine", "mmcv", "cv2") if find_spec(name) is None]


class Registry:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def register_module(self, *, name: str) -> Callable[[Any], Any]:
        def keep(made: Any) -> Any:
            assert name not in self.kept
            self.kept[name] = made
            return made

        return keep

    def build(self, config: dict[str, Any]) -> Any:
        arguments = {key: value for key, value in config.items() if key != "type"}
        return self.kept[config["type"]](**arguments)


class BaseModule(nn.Module):
    """Initialises its children, as mmengine's: whatever has ``init_weights`` is called."""

    def init_weights(self) -> None:
        for child in self.children():
            child.init_weights()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What an adapter sees of mmdetection."""
    kept = Registry()
    parts = {
        "mmdet": {},
        "mmdet.registry": {"MODELS": kept},
        "mmengine": {},
        "mmengine.model": {"BaseModule": BaseModule},
    }
    for name, held in parts.items():
        module = ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)
    return kept


@pytest.mark.parametrize("of_run", [False, True])
def test_a_configuration_builds_the_neck(
    of_run: bool, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("fpn", "from c2", "a gap", "names that adapters have")):
        neck = neck_of(name)
        folder = adapt(neck, tmp_path / f"m{of_run}{number}", "mmdetection", of_run=of_run)
        adapter(folder, "mmdetection", monkeypatch)
        space: dict[str, Any] = {}
        exec(snippet(folder, "mmdetection"), space)
        model = space["model"]
        assert model["backbone"]["out_indices"] == tuple(level - 2 for level in neck.inputs)
        assert model["bbox_head"]["in_channels"] == neck.out_channels[0]
        config = {key: value for key, value in model["neck"].items() if key != "_delete_"}
        built = registry.build(config).eval()
        holder = BaseModule()
        holder.neck = built
        holder.init_weights()
        sides = [64 // 2**level for level in neck.inputs]
        rows = zip(neck.in_channels, sides, strict=True)
        features = tuple(torch.rand(1, n, side, side) for n, side in rows)
        found = built(features)
        expected = neck(scaled(neck, features) if of_run else features)
        assert isinstance(found, tuple)
        assert all(map(torch.equal, found, expected)), name


def test_a_backbone_that_gives_other_levels_is_refused(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter(adapt(neck_of("fpn"), tmp_path / "levels", "mmdetection"), "mmdetection", monkeypatch)
    (made,) = registry.kept.values()
    with pytest.raises(ValueError, match=r"gives 4 features: .* set out_indices=\(1, 2, 3\)"):
        made()([torch.rand(1, 64, 8, 8)] * 4)


REAL = """
from types import ModuleType
class Compiled(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None
sys.modules["mmcv._ext"] = Compiled("mmcv._ext")
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
from safetensors.torch import load_file
register_all_modules()
config = Config.fromfile("my_retinanet.py")
config.model.backbone.pop("init_cfg")
model = MODELS.build(config.model)
model.init_weights()
ours = load_file("model.safetensors")
assert all(torch.equal(ours[key], value) for key, value in model.neck.neck.state_dict().items())
sample = DetDataSample()
sample.set_metainfo({"img_shape": (64, 96), "scale_factor": (1.0, 1.0)})
sample.gt_instances = InstanceData(
    bboxes=torch.tensor([[4.0, 4.0, 40.0, 44.0]]), labels=torch.tensor([1])
)
images = [torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)]
data = model.data_preprocessor({"inputs": images, "data_samples": [sample]}, True)
losses = model(**data, mode="loss")
sum(loss for many in losses.values() for loss in many).backward()
assert all(parameter.grad is not None for parameter in model.neck.parameters())
model.eval()
scores, boxes = model(**data, mode="tensor")
print([tuple(level.shape[2:]) for level in scores])
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_a_retinanet_of_mmdetection_trains_by_the_readmes_configuration(tmp_path: Path) -> None:
    folder = adapt(neck_of("panet"), tmp_path, "mmdetection")
    (folder / "my_retinanet.py").write_text(snippet(folder, "mmdetection"))
    said = run_alone(folder, REAL).splitlines()[-1]
    assert said == "[(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]"
