"""From one way to train necks to another: how far their scores move, and whether they keep order.

A table is [necks, seeds].
"""

import math
import statistics

import numpy as np

from nas_fpn.report import Agreement, agreement, paired_gap, resolution_of

__all__ = ["own_tau", "shift_said", "tau_said"]

Table = np.ndarray


def shift_said(ours: Table, theirs: Table, labels: tuple[str, str]) -> str:
    """A sentence on the same necks under two conditions, paired by neck."""
    gap = paired_gap(list(theirs.mean(1)), list(ours.mean(1)))
    each = (theirs - ours).mean(1)
    noise = math.sqrt(
        sum((resolution_of(table).noise ** 2) / table.shape[1] for table in (ours, theirs))
    )
    rank = agreement(ours, theirs)
    return (
        f'From "{labels[0]}" to "{labels[1]}": AP {gap.mean:+.4f} ± {gap.half:.4f} (95 %, '
        f"paired by neck); the necks' own shifts have a standard deviation of "
        f"{statistics.stdev(each):.4f}, of which noise would make {noise:.4f}. τ between the two "
        f"rankings {tau_said(rank)}; between single seeds of the first {own_tau(ours)}."
    )


def own_tau(table: Table) -> str:
    """τ between the rankings of two seeds of one condition."""
    taus = [
        agreement(table[:, [a]], table[:, [b]]).tau for a in range(table.shape[1]) for b in range(a)
    ]
    return f"{statistics.fmean(taus):.2f} between its seeds" if taus else "one seed"


def tau_said(found: Agreement) -> str:
    """τ and its interval."""
    return f"{found.tau:.2f} ({found.low:.2f} to {found.high:.2f})"
