"""What a trained detector finds in pictures, as rows for a program and as a drawing."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from nas_fpn.detect.draw_boxes import draw_boxes
from nas_fpn.detect.images import open_image
from nas_fpn.errors import RunError, command_line
from nas_fpn.run.alone import run_file

__all__ = ["LoadedDetector", "found_in", "kind_of", "load_detector"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedDetector:
    """The module that ``detector.py`` of a folder makes, the detector, and its classes."""

    module: ModuleType
    model: nn.Module
    classes: tuple[str, ...]


def kind_of(folder: Path) -> str:
    """The ``detector.kind`` of a folder of ``nas-fpn train``.

    Raises:
        RunError: where the folder is no trained detector.
    """
    path = folder / "detector.py"
    if not path.is_file():
        if (folder / "detector" / path.name).is_file():
            raise RunError(
                f"{path}: no such file; the detector of an exported neck has a folder of its own\n"
                f"name it: {folder / 'detector'}"
            )
        hint = "its training is not over" if (folder / "job.json").is_file() else "train one"
        again = command_line("train", "--neck", "fpn", "--to", folder)
        raise RunError(f"{path}: no such file; {hint}\n{again}")
    return str(_config(folder)["detector"]["kind"])


def load_detector(folder: Path) -> LoadedDetector:
    """Run ``detector.py`` of a folder of ``nas-fpn train`` and load its weights.

    Raises:
        RunError: where the folder is no trained detector.
    """
    kind_of(folder)
    module = run_file(folder / "detector.py")
    return LoadedDetector(module, module.load(folder), tuple(_config(folder)["classes"]))


def found_in(
    detector: LoadedDetector,
    picture: Path,
    *,
    threshold: float,
    drawing: Path | None = None,
    proposals: Tensor | None = None,
) -> dict[str, Any]:
    """Detect on one picture: its file and a row for each box of at least ``threshold``.

    A row has "class", "score" and "box" [x0, y0, x1, y1] in pixels of the picture, best first.
    ``drawing`` is the file that the picture is written to with its boxes. ``proposals`` [n, 4] are
    for a Fast R-CNN.

    Raises:
        DataError: if the picture cannot be decoded.
    """
    pixels = open_image(picture)
    given = () if proposals is None else (proposals,)
    found = detector.module.detect(detector.model, pixels, *given)
    kept = found["scores"] >= threshold
    boxes, scores, labels = (found[name][kept] for name in ("boxes", "scores", "labels"))
    if drawing is not None:
        drawing.parent.mkdir(parents=True, exist_ok=True)
        draw_boxes(pixels, boxes, scores, labels, classes=detector.classes).save(drawing)
    return {
        "image": str(picture),
        "detections": [
            {
                "class": detector.classes[label],
                "score": round(score, 4),
                "box": [round(side, 1) for side in box],
            }
            for label, score, box in zip(
                labels.tolist(), scores.tolist(), boxes.tolist(), strict=True
            )
        ],
    }


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
