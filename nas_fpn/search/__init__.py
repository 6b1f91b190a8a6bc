"""The search: a controller proposes, a runner trains, the record remembers."""

from nas_fpn.search.controller import Controller, Problem, generator, objective_scores, told
from nas_fpn.search.loading import find_controller, load_controller

__all__ = [
    "Controller",
    "Problem",
    "find_controller",
    "generator",
    "load_controller",
    "objective_scores",
    "told",
]
