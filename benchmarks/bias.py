"""What may mislead a proxy, each measured with and without: benchmarks/results/bias.md.

    python benchmarks/bias.py runs/bias --write

Ten necks (four baselines, the lightest and heaviest of the space and random ones) train on small
embedded scenes under conditions that differ in one thing. The reference is the same necks end to
end, the backbone learning too. Trainings are kept in ``bias.jsonl`` in the folder, so that it may
be stopped; ``--studies`` names some of: memory, warmup, views, frozen, steps.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from bias_trainings import Condition, Rows, bank_of, every, folder_of
from machine import processor
from shifts import own_tau, shift_said, tau_said

from nas_fpn.report import agreement, paired_gap, resolution_of
from nas_fpn.run.calibrate_plan import Chosen, choose_necks
from nas_fpn.run.calibrate_settings import CalibrateSettings
from nas_fpn.run.question import read_question

RESULTS = Path(__file__).parent / "results"
DRAWS = 2000
PLAIN = Condition(label="frozen, warmed on other images, 3 fixed views, 150 steps")
WHOLE = Condition(label="end to end, all but the stem learns", learns="all")
RIVALS = ("none", "panet")
WARM_SEEDS = 3

Table = np.ndarray


class Lab:
    """The necks, their trainings, and tables of them [necks, seeds]."""

    def __init__(self, folder: Path, *, necks: int, seeds: int) -> None:
        self.run = folder_of(folder)
        self.rows = Rows(folder / "bias.jsonl")
        question = read_question(self.run)
        bank = bank_of(self.run.folder, PLAIN.warmed_on, PLAIN.warmed, PLAIN.warm_seed, 3)
        self.necks = choose_necks(question, bank, CalibrateSettings(necks=necks), seed=0)
        self.seeds = seeds

    def table(self, condition: Condition, name: str = "ap") -> Table:
        """Scores of all necks under a condition, trained now if need be."""
        found = np.zeros((len(self.necks), self.seeds))
        for neck, seed in every(len(self.necks), self.seeds):
            text = self.necks[neck].text
            row = self.rows.of(self.run.folder, condition, text, seed)
            found[neck, seed] = row["scores"][name]
        return found

    def score(self, condition: Condition, neck: Chosen, seed: int) -> float:
        """The AP of one training."""
        return float(self.rows.of(self.run.folder, condition, neck.text, seed)["scores"]["ap"])


def main() -> None:
    """Train what is missing, print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--necks", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lab = Lab(given.folder, necks=given.necks, seeds=given.seeds)
    command = f"python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}"
    lines = ["# What may mislead the proxy", "", f"`{command}`", ""]
    lines += [
        f"{len(lab.necks)} necks of space quick × {lab.seeds} seeds; embedded scenes at 96 px (300 "
        "train, 200 val images, 300 for the warm-up of 400 steps); 150 steps of 16 in the proxy, "
        f"150 of 8 end to end (FCOS, heads of one convolution), unless said. {processor()}, one "
        "thread. AP on val.",
        "",
        "τ: Kendall's, of the ranking by one training of each neck against the means end to end, "
        "all of the backbone but its stem learning; in brackets its 90 % interval over necks and "
        "seeds. "
        "Noise: standard deviation between the seeds of a neck; between: of the necks, noise taken "
        "off.",
    ]
    for name in given.studies.split(","):
        lines += ["", *STUDIES[name](lab)]
    lines += ["", f"All trainings together: {lab.rows.seconds() / 60:.0f} CPU minutes.", ""]
    text = "\n".join(lines)
    print(text)
    if given.write:
        (RESULTS / "bias.md").write_text(text, encoding="utf-8")


def memory(lab: Lab) -> list[str]:
    """A backbone that has learnt the very images by heart that the necks train on."""
    same = Condition(label="warmed on the images that the necks train on", warmed_on="train")
    return [
        "## A backbone that has memorised the images",
        "",
        *_compared(lab, [PLAIN, same]),
        "",
        _level(lab, PLAIN, same),
    ]


def warmup(lab: Lab) -> list[str]:
    """A backbone warmed up with one neck, which may favour that neck."""
    rivals = [next(one for one in lab.necks if one.why == name) for name in RIVALS]
    gaps: dict[str, list[float]] = {}
    for name in RIVALS:
        for warm in range(WARM_SEEDS):
            condition = Condition(label=f"warmed with {name}", warmed=name, warm_seed=warm)
            one, other = (
                statistics.fmean(lab.score(condition, neck, seed) for seed in range(lab.seeds))
                for neck in rivals
            )
            gaps.setdefault(name, []).append(other - one)
    favour = paired_gap(gaps[RIVALS[1]], gaps[RIVALS[0]])
    lines = [
        "## A backbone warmed up with one neck",
        "",
        f"| warmed up with | {RIVALS[1]} less {RIVALS[0]}, AP, by seed of the warm-up | mean |",
        "| --- | --- | --- |",
    ]
    for name in RIVALS:
        shown = ", ".join(f"{gap:+.4f}" for gap in gaps[name])
        lines.append(f"| {name} | {shown} | {statistics.fmean(gaps[name]):+.4f} |")
    said = {1: "it favours its neck", 0: "not shown to favour its neck", -1: "it favours the other"}
    return [
        *lines,
        "",
        f"A neck gains {favour.mean:+.4f} ± {favour.half:.4f} AP on the other (95 %, "
        f"{WARM_SEEDS} warm-ups of each, Student's t) where the backbone was warmed up with it: "
        f"{said[favour.sign]}.",
    ]


def views(lab: Lab) -> list[str]:
    """One fixed view, several, or fresh ones at each step."""
    conditions = [
        Condition(label="1 fixed view", views=1),
        PLAIN,
        Condition(label="fresh views, through the frozen backbone", views="fresh"),
    ]
    return [
        "## Fixed views",
        "",
        *_compared(lab, conditions),
        "",
        _level(lab, conditions[0], PLAIN),
        "",
        _level(lab, PLAIN, conditions[2]),
    ]


def frozen(lab: Lab) -> list[str]:
    """The same detector and views, with nothing, the last stage, or nearly all learning."""
    conditions = [
        Condition(label="nothing of the backbone learns", learns="nothing"),
        Condition(label="its last stage learns, at a tenth of the rate", learns="last stage"),
        WHOLE,
    ]
    return [
        "## A frozen backbone",
        "",
        *_compared(lab, conditions),
        "",
        _level(lab, conditions[0], conditions[1]),
        "",
        _level(lab, conditions[0], WHOLE),
    ]


def steps(lab: Lab) -> list[str]:
    """Fewer or more steps, and whether that favours small necks."""
    conditions = [
        Condition(label=f"{count} steps", steps=count) if count != PLAIN.steps else PLAIN
        for count in (50, 150, 300)
    ]
    sizes = np.log2([one.macs for one in lab.necks])
    lines = [
        "## Too few steps",
        "",
        *_compared(lab, conditions),
        "",
        "| steps | AP for each doubling of the multiply-adds (90 %, bootstrap over necks) |",
        "| --- | --- |",
    ]
    drawn = {}
    for condition in conditions:
        means = lab.table(condition).mean(1)
        drawn[condition.steps] = _slopes(sizes, means)
        slope, *rest = drawn[condition.steps]
        low, high = np.quantile(rest, [0.05, 0.95])
        lines.append(f"| {condition.steps} | {slope:+.4f} ({low:+.4f} to {high:+.4f}) |")
    change = np.array(drawn[300]) - np.array(drawn[50])
    low, high = np.quantile(change[1:], [0.05, 0.95])
    shown = "small necks are favoured" if low > 0 else "large ones are" if high < 0 else "not shown"
    return [
        *lines,
        "",
        f"From 50 to 300 steps the slope changes by {change[0]:+.4f} ({low:+.4f} to {high:+.4f}): "
        f"that too few steps favour small necks: {shown}.",
    ]


STUDIES: dict[str, Callable[[Lab], list[str]]] = {
    "memory": memory,
    "warmup": warmup,
    "views": views,
    "frozen": frozen,
    "steps": steps,
}


def _compared(lab: Lab, conditions: Sequence[Condition]) -> list[str]:
    truth = lab.table(WHOLE)
    lines = [
        "| condition | AP | noise | between | τ with end to end | CPU s a training |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for condition in conditions:
        table = lab.table(condition)
        spread = resolution_of(table)
        tau = own_tau(truth) if condition == WHOLE else tau_said(agreement(table, truth))
        seconds = statistics.fmean(
            lab.rows.of(lab.run.folder, condition, neck.text, seed)["cpu_seconds"]
            for neck in lab.necks
            for seed in range(lab.seeds)
        )
        lines.append(
            f"| {condition.label} | {table.mean():.4f} | {spread.noise:.4f} | "
            f"{spread.between:.4f} | {tau} | {seconds:.1f} |"
        )
    return lines


def _level(lab: Lab, one: Condition, other: Condition) -> str:
    return shift_said(lab.table(one), lab.table(other), (one.label, other.label))


def _slopes(sizes: Table, scores: Table) -> list[float]:
    """The slope of scores over sizes, and that of each draw of necks."""
    chance = np.random.default_rng(0)
    rows = [np.arange(len(sizes))]
    rows += [chance.integers(len(sizes), size=len(sizes)) for _ in range(DRAWS)]
    return [float(np.polyfit(sizes[row], scores[row], 1)[0]) for row in rows if np.ptp(sizes[row])]


if __name__ == "__main__":
    main()
