"""Run by the tests in an interpreter of its own, which cannot import nas_fpn.

The first argument is the folder of a training, the second one of pictures: print what its
``detector.py`` finds in each.
"""

import importlib.util
import json
import sys
from pathlib import Path


class Blocker:
    """Refuses this package and what else it brings."""

    refused = frozenset({"nas_fpn", "lark", "pydantic", "ray", "optuna", "faster_coco_eval"})

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.refused:
            raise ImportError(f"{name} is blocked")


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocker())
    import torch

    torch.set_num_threads(1)
    folder, pictures = (Path(argument) for argument in sys.argv[1:])
    spec = importlib.util.spec_from_file_location("detector", folder / "detector.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load()
    found = {
        path.name: {key: value.tolist() for key, value in module.detect(model, path).items()}
        for path in sorted(pictures.glob("test_*.png"))
    }
    print(json.dumps(found))
