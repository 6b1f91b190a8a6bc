"""Views of a run that can be made again from its record: tables and what they say."""

from nas_fpn.report.answer import answer_json, answer_text, nothing_learnt, verdict
from nas_fpn.report.bootstrap import Spread, image_weights, spread_of_gap
from nas_fpn.report.calibrated import SET_IN_PROXY, calibrated, fidelity_of, last_calibrated
from nas_fpn.report.calibrated_text import (
    calibrated_json,
    calibrated_said,
    calibrated_text,
    trust_said,
)
from nas_fpn.report.calibration import (
    Agreement,
    agreement,
    ceiling,
    like_cost,
    resolution_of,
    seeds_for,
    without_noise,
)
from nas_fpn.report.confirmed import (
    confirmed_brief,
    confirmed_json,
    confirmed_said,
    confirmed_table,
    confirmed_text,
    last_confirmed,
)
from nas_fpn.report.explained import Change, Explained, Luck, Part, explained
from nas_fpn.report.explained_text import explained_json, explained_text
from nas_fpn.report.frames import Frames, frames
from nas_fpn.report.front import best_entry, front
from nas_fpn.report.front_plot import draw_front, name_of
from nas_fpn.report.html import report_html
from nas_fpn.report.noise import Noise, noise_of
from nas_fpn.report.opened import Opened, open_run
from nas_fpn.report.screening import Screening, ScreeningPlan, screen, screening_cost
from nas_fpn.report.selection import Selection, selected
from nas_fpn.report.sequential import (
    Decision,
    Next,
    PairDecision,
    VerdictPlan,
    decide,
    detectable,
)
from nas_fpn.report.side_by_side import side_by_side, side_by_side_json, stacked
from nas_fpn.report.table import frame
from nas_fpn.report.verdict import Gap, checked_on_test, paired_gap, proxy_checks

__all__ = [
    "SET_IN_PROXY",
    "Agreement",
    "Change",
    "Decision",
    "Explained",
    "Frames",
    "Gap",
    "Luck",
    "Next",
    "Noise",
    "Opened",
    "PairDecision",
    "Part",
    "Screening",
    "ScreeningPlan",
    "Selection",
    "Spread",
    "VerdictPlan",
    "agreement",
    "answer_json",
    "answer_text",
    "best_entry",
    "calibrated",
    "calibrated_json",
    "calibrated_said",
    "calibrated_text",
    "ceiling",
    "checked_on_test",
    "confirmed_brief",
    "confirmed_json",
    "confirmed_said",
    "confirmed_table",
    "confirmed_text",
    "decide",
    "detectable",
    "draw_front",
    "explained",
    "explained_json",
    "explained_text",
    "fidelity_of",
    "frame",
    "frames",
    "front",
    "image_weights",
    "last_calibrated",
    "last_confirmed",
    "like_cost",
    "name_of",
    "noise_of",
    "nothing_learnt",
    "open_run",
    "paired_gap",
    "proxy_checks",
    "report_html",
    "resolution_of",
    "screen",
    "screening_cost",
    "seeds_for",
    "selected",
    "side_by_side",
    "side_by_side_json",
    "spread_of_gap",
    "stacked",
    "trust_said",
    "verdict",
    "without_noise",
]
