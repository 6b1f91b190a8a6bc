"""A fit of NeckBench for necks outside the table: how good it is, and what it says of some.

    python benchmarks/neckbench/fit.py benchmarks/neckbench/shapes.parquet fpn panet bifpn

Learns the mean AP from the graph features of a neck (``nas_fpn/language/features.py``), which any
neck has; prints the rank correlation with necks that were held out, which is what the fit is worth.
Its word on necks unlike those of the table is a guess, and no figure of a page rests on it.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nas_fpn.language import (
    Architecture,
    canonical,
    cost,
    find_neck,
    fit,
    lower,
    parse,
    parse_space,
    read_neck,
)
from nas_fpn.language.features import features
from nas_fpn.language.words import WORDS
from nas_fpn.run.question import Frame, frame_of
from nas_fpn.search.bench import Table, read_table

FOLDS, ROUNDS = 10, 5

Numbers = NDArray[np.float64]

MODELS: dict[str, Callable[[], object]] = {
    "ridge": lambda: make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 16))),
    "trees": lambda: ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0),
}


def main() -> None:
    """Cross-validate, then predict the necks that were named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("necks", nargs="*", help="shipped names or .neck files")
    given = parser.parse_args()
    table = read_table(given.table)
    frame = frame_of(parse_space(table.space))
    measured = list(table.necks.values())
    known = np.array([_features(parse(one.text), table, frame) for one in measured])
    scores = np.array([one.mean("ap") for one in measured])
    print(f"{len(measured)} necks, {known.shape[1]} features; AP {scores.mean():.4f} on average")
    seeds = {seed for one in measured for seed in one.curves}
    if len(seeds) > 1 and all(set(one.curves) == seeds for one in measured):
        print(f"two single seeds of the same necks: {_agreement(_by_seed(table, sorted(seeds)))}")
    for name, model in MODELS.items():
        rounds = [
            cross_val_predict(model(), known, scores, cv=KFold(FOLDS, shuffle=True, random_state=n))
            for n in range(ROUNDS)
        ]
        print(f"{name}, {FOLDS}-fold, {ROUNDS} times: {_agreement([(r, scores) for r in rounds])}")
    fitted = {name: model().fit(known, scores) for name, model in MODELS.items()}
    for name in given.necks:
        neck = fit(read_neck(find_neck(name)), width=frame.width, levels=frame.levels)
        row = np.array([_features(neck, table, frame)])
        said = ", ".join(f"{kind} {one.predict(row)[0]:.4f}" for kind, one in fitted.items())
        print(f"{name}: {said}")


def _features(neck: Architecture, table: Table, frame: Frame) -> list[float]:
    plain = canonical(neck)
    price = cost(plain, table.in_channels, image_size=table.image_size)
    found = features(
        lower(plain), price, words=tuple(WORDS), reads=frame.reads, levels=frame.levels
    )
    return list(found.values())


def _by_seed(table: Table, seeds: Sequence[int]) -> list[tuple[Numbers, Numbers]]:
    ends = {
        seed: np.array([one.curves[seed][-1].scores["ap"] for one in table.necks.values()])
        for seed in seeds
    }
    return [(ends[a], ends[b]) for a in seeds for b in seeds if a < b]


def _agreement(pairs: Sequence[tuple[Numbers, Numbers]]) -> str:
    """Rank correlations, meaned over the pairs."""
    rho = [float(spearmanr(a, b).statistic) for a, b in pairs]
    tau = [float(kendalltau(a, b).statistic) for a, b in pairs]
    spread = f" ± {stdev(rho):.3f}" if len(rho) > 1 else ""
    return f"Spearman {fmean(rho):.3f}{spread}, Kendall {fmean(tau):.3f}"


if __name__ == "__main__":
    main()
