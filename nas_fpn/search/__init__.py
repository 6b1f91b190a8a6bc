"""The search: a controller proposes, a runner trains, the record remembers.

Ray's runner stands apart in ``nas_fpn.search.tune``, so that nothing here loads Ray; so do the
simulator and its tables, ``simulate``, ``bench`` and ``regret``, which load pyarrow and numpy.
"""

from nas_fpn.search.constraint import CONSTRAINED, SoftConstraint
from nas_fpn.search.controller import Controller, Problem, generator, told
from nas_fpn.search.halving import Halving, rung_steps
from nas_fpn.search.header import begin, budget_on_record, check_header
from nas_fpn.search.loading import find_controller, load_controller
from nas_fpn.search.local import advance, search_here, training
from nas_fpn.search.loop import Loop
from nas_fpn.search.outcomes import trained
from nas_fpn.search.plan import (
    Baseline,
    BeyondLimits,
    Clock,
    Due,
    Evaluate,
    NeckFacts,
    Plan,
)
from nas_fpn.search.progress import Asked, Noted, Over, Paused, Progress, Promoted, Reported, Told

__all__ = [
    "CONSTRAINED",
    "Asked",
    "Baseline",
    "BeyondLimits",
    "Clock",
    "Controller",
    "Due",
    "Evaluate",
    "Halving",
    "Loop",
    "NeckFacts",
    "Noted",
    "Over",
    "Paused",
    "Plan",
    "Problem",
    "Progress",
    "Promoted",
    "Reported",
    "SoftConstraint",
    "Told",
    "advance",
    "begin",
    "budget_on_record",
    "check_header",
    "find_controller",
    "generator",
    "load_controller",
    "rung_steps",
    "search_here",
    "told",
    "trained",
    "training",
]
