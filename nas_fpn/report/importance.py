"""How much each decision of the space mattered over a run, by PED-ANOVA.

Watanabe, Bansal and Hutter 2023, arXiv:2304.10255, as Optuna computes it: how far the options that
the best tenth of the trials took are from those that all took. A controller that learns
concentrates its trials: this says what told good from poor in this run, and shows no cause.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from nas_fpn.report.mirror import row_of
from nas_fpn.report.opened import Opened
from nas_fpn.report.options import chosen, options
from nas_fpn.report.optuna_store import TrialState, in_memory, make_study, put

__all__ = ["LEAST", "importance"]

LEAST = 50  # complete trials: the best tenth of fewer is below the five that Optuna asks for
EPOCH = datetime(2000, 1, 1)  # importances do not depend on when


def importance(run: Opened) -> Mapping[str, float] | None:
    """The share of each decision, largest first; they add up to 1.

    None where the space is not at hand, or fewer than :data:`LEAST` proposals are complete. Those
    that repeat another count: the controller asked for them. Equal records give equal shares.
    """
    if run.space is None:
        return None
    offered, storage = options(run.space), in_memory()
    objective = run.objectives[0]
    study = make_study(storage, "importance", objectives=[objective], attributes={})
    count = 0
    for entry in run.history.entries:
        if entry.is_baseline or entry.genotype is None:
            continue
        row = row_of(
            entry,
            objectives=(objective,),
            params=chosen(run.space, offered, entry.genotype),
            drawing=None,
            begun=EPOCH,
            ended=EPOCH,
        )
        if row.state is TrialState.COMPLETE and entry.outcome is not None:
            put(study, replace(row, number=count), before=None, options=offered)
            count += 1
    if count < LEAST:
        return None
    loaded = optuna.load_study(study_name="importance", storage=storage)
    # without a target: the best tenth is then by the study's own direction
    return dict(get_param_importances(loaded, evaluator=PedAnovaImportanceEvaluator()))
