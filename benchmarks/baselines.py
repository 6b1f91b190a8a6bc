"""AP of hand-designed necks over seeds: in the proxy and, if asked, trained end to end.

    python benchmarks/baselines.py RUN --seeds 3 --end-to-end --write shapes
    python benchmarks/baselines.py RUN --seeds 2 --write aquarium

RUN is a folder with a run.toml; its space, data, backbone and proxy are used as a search would
use them. Both ways of training start from the same backbone weights and the same head, see the
same train images for as many steps, and are scored on the same val images; they differ in that
the bank's backbone is frozen and its views are fixed. ``--write NAME`` puts the table into
``benchmarks/results/NAME.md``. Finished trainings are kept in ``RUN/baselines.jsonl``, so that a
stopped benchmark goes on where it was.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.language import parse
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.bank import open_bank
from nas_fpn.proxy.train import train
from nas_fpn.proxy.warmup import load_images, train_end_to_end
from nas_fpn.run.data import read_data
from nas_fpn.run.prepare import prepare
from nas_fpn.run.question import Question, read_question
from nas_fpn.run.settings import Run, read_run
from nas_fpn.run.trainer import build_neck

RESULTS = Path(__file__).parent / "results"
STUDENT = {
    2: 12.71,
    3: 4.30,
    4: 3.18,
    5: 2.78,
    6: 2.57,
    7: 2.45,
    8: 2.36,
}  # by seeds, two-sided 95 %

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """One training: ``way`` is "proxy" or "end to end"."""

    way: str
    neck: str
    text: str
    seed: int


class Standardised(nn.Module):
    """A backbone whose features are standardised as the bank's are."""

    def __init__(
        self, backbone: nn.Module, mean: dict[int, Tensor], std: dict[int, Tensor]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        for level in mean:
            self.register_buffer(f"mean{level}", mean[level].view(1, -1, 1, 1).float())
            self.register_buffer(f"std{level}", std[level].view(1, -1, 1, 1).float())

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Images [B, 3, S, S] in 0..1 to features by level."""
        return {
            level: (feature - getattr(self, f"mean{level}")) / getattr(self, f"std{level}")
            for level, feature in self.backbone(images).items()
        }


def train_once(folder: Path, bank_path: Path, training: Training) -> Row:
    """Train once, in this process, on one thread."""
    torch.set_num_threads(1)
    run = read_run(folder)
    settings = run.settings.proxy
    bank = open_bank(bank_path)
    neck = build_neck(parse(training.text), bank, seed=training.seed)
    start = time.process_time()
    if training.way == "proxy":
        reports = train(neck, bank, settings, seed=training.seed)
    else:
        backbone = build_backbone(run.backbone, bank.levels, seed=run.settings.seed)
        for weights in sorted((folder / "bank").glob("backbone-*.safetensors")):  # of the warm-up
            backbone.net.load_state_dict(load_file(weights))
        data = read_data(
            run.data,
            run.folder / "data",
            image_size=settings.image_size,
            needs_warmup=False,
        )
        reports = train_end_to_end(
            Standardised(backbone, dict(bank.mean), dict(bank.std)),
            neck,
            load_images(data.train, settings.image_size),
            settings,
            held_out=load_images(data.val, settings.image_size),
            seed=training.seed,
        )
    *_, last = reports
    return {
        **asdict(training),
        "scores": dict(last.scores),
        "cpu_seconds": time.process_time() - start,
    }


def main() -> None:
    """Prepare the run's bank, train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--necks", default="none,fpn,panet,bifpn,sni_fpn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--write", metavar="NAME")
    given = parser.parse_args()
    names = given.necks.split(",")
    run = read_run(given.run)
    run = replace(run, settings=run.settings.model_copy(update={"baselines": tuple(names)}))
    question = read_question(run)
    bank, notes = _prepared(run, question)
    ways = ("proxy", "end to end") if given.end_to_end else ("proxy",)
    trainings = [
        Training(way, fitted.name, str(fitted.neck), seed)
        for seed in range(given.seeds)
        for fitted in question.baselines
        for way in ways
    ]
    done = _trained(run.folder, bank, trainings, workers=given.workers)
    command = f"python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}"
    text = report(done, names, ways, notes=[*notes, *_about(run, question)], command=command)
    print(text)
    if given.write:
        (RESULTS / f"{given.write}.md").write_text(text, encoding="utf-8")


def _prepared(run: Run, question: Question) -> tuple[Path, tuple[str, ...]]:
    steps = prepare(run, question.levels, warmup_neck=question.warmup_neck)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value.bank, end.value.notes
        print(f"{step.stage}: {step.done}/{step.total}", flush=True)


def _trained(folder: Path, bank: Path, trainings: Sequence[Training], *, workers: int) -> list[Row]:
    """The rows of all trainings: those on file, and the others trained now."""
    file = folder / "baselines.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [row for row in rows if row["bank"] == bank.name]
    known = {(row["way"], row["text"], row["seed"]) for row in rows}
    todo = [
        training
        for training in trainings
        if (training.way, training.text, training.seed) not in known
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed(
            [pool.submit(train_once, folder, bank, training) for training in todo]
        ):
            row = {**future.result(), "bank": bank.name}
            rows.append(row)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            print(f"{row['way']} {row['neck']} seed {row['seed']}: {row['scores']['ap']:.4f}")
    wanted = {(training.way, training.text, training.seed) for training in trainings}
    return [row for row in rows if (row["way"], row["text"], row["seed"]) in wanted]


def report(
    rows: Sequence[Row],
    names: Sequence[str],
    ways: Sequence[str],
    *,
    notes: Sequence[str],
    command: str,
) -> str:
    """The table, the differences between necks against the noise between seeds, and the facts."""
    lines = ["# Hand-designed necks", "", f"`{command}`", "", *[f"- {note}" for note in notes], ""]
    lines += ["| neck | way | AP, mean | sd between seeds | AP of each seed | AP50 | CPU s |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name in names:
        for way in ways:
            some = _some(rows, name, way)
            aps = [row["scores"]["ap"] for row in some]
            ap50 = statistics.mean(row["scores"]["ap50"] for row in some)
            seconds = statistics.mean(row["cpu_seconds"] for row in some)
            lines.append(
                f"| {name} | {way} | {statistics.mean(aps):.4f} | {statistics.stdev(aps):.4f} | "
                f"{' '.join(f'{ap:.4f}' for ap in aps)} | {ap50:.3f} | {seconds:.0f} |"
            )
    for way in ways:
        means = [statistics.mean(_aps(rows, name, way)) for name in names]
        noise = math.sqrt(statistics.mean(statistics.variance(_aps(rows, n, way)) for n in names))
        lines += [
            "",
            f"{way}: the means spread by {max(means) - min(means):.4f} (best less worst), the "
            f"seeds of one neck by {noise:.4f} (pooled standard deviation); "
            f"ratio {(max(means) - min(means)) / noise:.1f}.",
        ]
    lines += ["", "## Differences", "", *_differences(rows, names, ways), ""]
    return "\n".join(lines)


def _differences(rows: Sequence[Row], names: Sequence[str], ways: Sequence[str]) -> list[str]:
    """Each pair of necks, paired by seed: mean ± standard error, and whether it stands out."""
    head = " | ".join(f"{way} | stands out" for way in ways)
    lines = [f"| pair | {head} |", "| --- |" + " --- | --- |" * len(ways)]
    winners: dict[tuple[str, str], list[str]] = {}
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            cells = []
            for way in ways:
                mean, error, limit = _gap(rows, one, two, way)
                winner = "no" if abs(mean) <= limit else (one if mean > 0 else two)
                winners.setdefault((one, two), []).append(winner)
                cells.append(f"{mean:+.4f} ± {error:.4f} | {winner}")
            lines.append(f"| {one} - {two} | {' | '.join(cells)} |")
    lines += [
        "",
        "± is the standard error over the seeds. A difference stands out where it is larger than "
        "the 95 % interval of Student's t allows; with few seeds that asks for much. No "
        "correction for the number of pairs.",
    ]
    return lines if len(ways) == 1 else [*lines, "", *_agreement(winners)]


def _gap(rows: Sequence[Row], one: str, two: str, way: str) -> tuple[float, float, float]:
    """Mean of the paired differences, its standard error, and the 95 % limit on it."""
    pairs = zip(_aps(rows, one, way), _aps(rows, two, way), strict=True)
    gaps = [a - b for a, b in pairs]
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    return statistics.mean(gaps), error, STUDENT[len(gaps)] * error


def _agreement(winners: dict[tuple[str, str], list[str]]) -> list[str]:
    """What of the end-to-end differences the proxy shows, in sentences."""
    said: dict[str, list[str]] = {}
    for (one, two), (proxy, whole) in winners.items():
        if whole == "no":
            kind = "Seen in the proxy only" if proxy != "no" else "Seen in neither"
        elif proxy == whole:
            kind = "There end to end, and above the proxy's seed noise"
        else:
            kind = (
                "There end to end, but NOT above the proxy's seed noise"
                if proxy == "no"
                else "There end to end, and the other way round in the proxy"
            )
        said.setdefault(kind, []).append(f"{one} - {two}")
    return [f"- {kind}: {', '.join(pairs)}." for kind, pairs in sorted(said.items())]


def _some(rows: Sequence[Row], name: str, way: str) -> list[Row]:
    found = [row for row in rows if row["neck"] == name and row["way"] == way]
    return sorted(found, key=lambda row: row["seed"])


def _aps(rows: Sequence[Row], name: str, way: str) -> list[float]:
    return [row["scores"]["ap"] for row in _some(rows, name, way)]


def _about(run: Run, question: Question) -> list[str]:
    proxy, backbone = run.settings.proxy, run.backbone
    fitted = "; ".join(f"{one.name}: {one.note}" for one in question.baselines)
    return [
        f"backbone {backbone.name}, weights {Path(backbone.weights).name}; {proxy.image_size} px, "
        f"{proxy.steps} steps of {proxy.batch_size} images, one thread",
        f"space {run.settings.space}: levels {question.frame.levels}, width {question.frame.width}",
        f"necks as they were fitted: {fitted}",
    ]


if __name__ == "__main__":
    main()
