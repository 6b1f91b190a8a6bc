"""A backbone that has memorised the images, and cross-fitting: benchmarks/results/tuned.md.

    nas-fpn calibrate runs/calibrate_tuned
    python benchmarks/tuned.py runs/calibrate_tuned --write

The fidelities of that run are backbones as they come, tuned with cross-fitting, and tuned on the
images whose features they give. Trains nothing: it reads what ``calibrate`` left.
"""

import argparse
import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from calibration_page import calibration_section
from machine import processor
from shifts import shift_said

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="of the run, where the folder is a copy of it")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    name = given.name or str(given.folder)
    tables = _tables(given.folder)
    shifts = [shift_said(tables[a], tables[b], (a, b)) for a, b in combinations(tables, 2)]
    lines = [
        "# A tuned backbone: memorised images, and cross-fitting",
        "",
        f"`nas-fpn calibrate {name}`, then `python benchmarks/{Path(__file__).name} {name} "
        f"--write`. {processor()}, one thread.",
        "",
        "The backbone is warmed up on other scenes and then tuned end to end on train. *In 2 "
        "folds*: each half of train has the features of a backbone tuned on the other half. *No "
        "folds*: one backbone, tuned on the images whose features it gives.",
        "",
        *calibration_section(given.folder),
    ]
    for said in shifts:
        lines += ["", said]
    text = "\n".join([*lines, ""])
    print(text)
    if given.write:
        (RESULTS / "tuned.md").write_text(text, encoding="utf-8")


def _tables(folder: Path) -> dict[str, np.ndarray]:
    """AP of the necks that every fidelity was trained with on every seed, by label."""
    event = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    lines = (folder / "calibration.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    labels = [one["label"] for one in event["fidelities"]]
    scores = {
        (row["label"], row["neck"], row["seed"]): row["scores"].get(event["objective"], 0.0)
        for row in rows
    }
    seeds = sorted({row["seed"] for row in rows})
    necks = [
        one["neck"]
        for one in event["necks"]
        if all((label, one["neck"], seed) in scores for label in labels for seed in seeds)
    ]
    return {
        label: np.array([[scores[label, neck, seed] for seed in seeds] for neck in necks])
        for label in labels
    }


if __name__ == "__main__":
    main()
