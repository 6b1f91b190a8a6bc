"""Run by ``export_matrix.py`` in an environment of its own: load exported necks and run them.

The argument is a JSON file: ``ways`` and ``folders``. Each folder has ``given.pt`` and
``given.npz``, backbone features at several sizes. Per folder and way this writes what the neck was
given and what it gave; it prints a JSON list: folder, way, and what failed, if anything did. Here
at the top only Python's own modules are imported: which others there are is what is found out.
"""

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

REFUSED = {"nas_fpn", "lark", "pydantic_settings"}
IMAGE = (2, 3, 128, 160)

Runs = list[tuple[list[Any], list[Any]]]  # of each size: features in, features out


class Blocker:
    """Refuses the package that wrote the folders, wherever it might come from."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is blocked")


def main() -> None:
    assert importlib.util.find_spec("nas_fpn") is None
    sys.meta_path.insert(0, Blocker())  # type: ignore[arg-type]
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name in asked["absent"]:
        assert importlib.util.find_spec(name) is None, f"{name} is there"
    found = []
    for folder in map(Path, asked["folders"]):
        for way in asked["ways"]:
            if way in FILES and not (folder / FILES[way]).exists():
                continue  # written of some necks only
            fault = ""
            try:
                with beside(folder):
                    keep(folder / f"made_{way}", WAYS[way](folder))
            except Exception as error:  # whatever a library raises is the row's text
                fault = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            found.append([folder.name, way, fault])
    assert not REFUSED & set(sys.modules)
    print(json.dumps(found))


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """The folder on the path, as its README has it; no module of another folder is kept."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [one for one in sys.modules if re.fullmatch(r"neck|hub|for_\w+", one)]:
            del sys.modules[name]


def keep(file: Path, runs: Runs) -> None:
    """Write what came out: by numpy where there is no torch."""
    flat = {
        f"{size}.{kind}.{k}": value
        for size, run in enumerate(runs)
        for kind, values in zip(("given", "made"), run, strict=True)
        for k, value in enumerate(values)
    }
    if importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        torch.save(
            {key: value.detach().contiguous() for key, value in flat.items()},
            file.with_suffix(".pt"),
        )
    else:
        np = importlib.import_module("numpy")
        np.savez(file.with_suffix(".npz"), **flat)


def _on_features(folder: Path, module: Callable[[list[Any]], Sequence[Any]]) -> Runs:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    given = torch.load(folder / "given.pt", weights_only=True)
    with torch.inference_mode():
        return [(features, list(module(features))) for features in given]


def _neck() -> Any:
    settings = json.loads(Path(sys.path[0], "config.json").read_text(encoding="utf-8"))
    return importlib.import_module("neck").Neck(**settings).eval()


def _torch_file(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    neck = _neck()
    neck.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return _on_features(folder, neck)


def _readme(folder: Path) -> Runs:
    neck = _neck()
    load_file = importlib.import_module("safetensors.torch").load_file
    neck.load_state_dict(load_file(folder / "model.safetensors"))
    return _on_features(folder, neck)


def _torch_hub(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    return _on_features(folder, torch.hub.load(str(folder), "neck", source="local").eval())


def _from_pretrained(folder: Path) -> Runs:
    made = importlib.import_module("hub").Neck.from_pretrained(str(folder))
    return _on_features(folder, made.eval())


def _pt2(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    return _on_features(folder, torch.export.load(folder / "neck.pt2").module())


def _onnx(folder: Path) -> Runs:
    np = importlib.import_module("numpy")
    session = importlib.import_module("onnxruntime").InferenceSession(
        str(folder / "neck.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]
    kept = np.load(folder / "given.npz")
    runs = []
    for size in sorted({key.partition(".")[0] for key in kept.files}):
        features = [kept[f"{size}.{k}"] for k in range(len(names))]
        named = dict(zip(names, features, strict=True))
        runs.append((features, list(session.run(None, named))))
    return runs


def _watched(model: Any, run: Callable[[], object]) -> Runs:
    """What the neck in a whole model is given, and what the adapter around it gives."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    (holder,) = (
        one for one in model.modules() if type(getattr(one, "neck", None)).__module__ == "neck"
    )
    given: list[Any] = []
    made: list[Any] = []
    hooks = [
        holder.neck.register_forward_pre_hook(lambda _, args: given.append(_listed(args[0]))),
        holder.register_forward_hook(lambda _, __, out: made.append(_listed(out))),
    ]
    with torch.inference_mode():
        run()
    for hook in hooks:
        hook.remove()
    return list(zip(given, made, strict=True))


def _listed(features: Any) -> list[Any]:
    features = getattr(features, "feature_maps", features)
    return list(features.values() if hasattr(features, "values") else features)


def _torchvision(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    adapter = importlib.import_module("for_torchvision")
    retinanet = importlib.import_module("torchvision.models.detection").RetinaNet
    torch.manual_seed(0)
    model = retinanet(
        adapter.resnet_with_neck(),
        num_classes=4,
        anchor_generator=adapter.retinanet_anchors(),
        min_size=IMAGE[2],
    ).eval()
    return _watched(model, lambda: model(list(torch.rand(IMAGE))))


def _timm(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    model = importlib.import_module("for_timm").FeaturesWithNeck("resnet18").eval()
    return _watched(model, lambda: model(torch.randn(IMAGE)))


def _snippet(folder: Path, library: str) -> str:
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## With {library}\n\n```python\n(.*?)^```", text, re.DOTALL | re.M)
    assert found is not None
    return found[1]


def _transformers(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    space: dict[str, Any] = {}
    exec(_snippet(folder, "transformers"), space)
    model = space["model"].eval()
    return _watched(model, lambda: model(torch.randn(IMAGE)))


class Compiled(ModuleType):
    """In the place of mmcv's compiled operations; nothing that is run here calls one."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _mmdetection(folder: Path) -> Runs:
    torch = importlib.import_module("torch")
    sys.modules.setdefault("mmcv._ext", Compiled("mmcv._ext"))
    importlib.import_module("mmdet.utils").register_all_modules()
    file = folder / "my_retinanet.py"
    file.write_text(_snippet(folder, "mmdetection"), encoding="utf-8")
    config = importlib.import_module("mmengine.config").Config.fromfile(str(file))
    config.model.backbone.pop("init_cfg")  # no weights are fetched
    torch.manual_seed(0)
    model = importlib.import_module("mmdet.registry").MODELS.build(config.model)
    model.init_weights()
    model.eval()
    return _watched(model, lambda: model(torch.randn(IMAGE), mode="tensor"))


WAYS: dict[str, Callable[[Path], Runs]] = {
    "torch_file": _torch_file,
    "readme": _readme,
    "torch_hub": _torch_hub,
    "from_pretrained": _from_pretrained,
    "pt2": _pt2,
    "onnx": _onnx,
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
    "mmdetection": _mmdetection,
}

FILES = {"pt2": "neck.pt2", "onnx": "neck.onnx"}

if __name__ == "__main__":
    main()
