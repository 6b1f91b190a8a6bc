"""A run: the question in ``run.toml``, everything wired, and the answer beside it."""

from nas_fpn.run.best import export_from_run, neck_text
from nas_fpn.run.calibrate import calibrate_run
from nas_fpn.run.clock import command_began
from nas_fpn.run.confirm import Confirmed, confirm_run
from nas_fpn.run.explain import explain_run
from nas_fpn.run.export_untrained import export_untrained
from nas_fpn.run.follow import follow, is_over
from nas_fpn.run.look import Look, rows
from nas_fpn.run.own_words import prove_words, read_words, words_for
from nas_fpn.run.plan import TimePlan
from nas_fpn.run.plan_run import Outlook, plan_run
from nas_fpn.run.plan_text import plan_json, plan_text
from nas_fpn.run.prepare import Step
from nas_fpn.run.search import Begun, Checked, Drive, Event, drive_here, search_run
from nas_fpn.run.settings import Run, RunSettings, read_run
from nas_fpn.run.start import run_toml
from nas_fpn.run.timed import Planned
from nas_fpn.run.train import TrainJob, run_train
from nas_fpn.run.watch import Watch, watch_of
from nas_fpn.run.whole import add_run_backbone, check_run_backbone, export_with_backbone

__all__ = [
    "Begun",
    "Checked",
    "Confirmed",
    "Drive",
    "Event",
    "Look",
    "Outlook",
    "Planned",
    "Run",
    "RunSettings",
    "Step",
    "TimePlan",
    "TrainJob",
    "Watch",
    "add_run_backbone",
    "calibrate_run",
    "check_run_backbone",
    "command_began",
    "confirm_run",
    "drive_here",
    "explain_run",
    "export_from_run",
    "export_untrained",
    "export_with_backbone",
    "follow",
    "is_over",
    "neck_text",
    "plan_json",
    "plan_run",
    "plan_text",
    "prove_words",
    "read_run",
    "read_words",
    "rows",
    "run_toml",
    "run_train",
    "search_run",
    "watch_of",
    "words_for",
]
