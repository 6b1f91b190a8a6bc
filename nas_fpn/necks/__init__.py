"""Necks as torch modules: one operation for each word of the language, and what joins them."""

from nas_fpn.necks.blocks import BLOCKS
from nas_fpn.necks.cell import Cell, Chain
from nas_fpn.necks.merges import MERGES
from nas_fpn.necks.neck import Neck, initialise
from nas_fpn.necks.operand_weights import operand_weights
from nas_fpn.necks.plan import Call, CallChain, CellPlan, make_cell, plan_cells
from nas_fpn.necks.recursive import FeedbackResNet, RecursiveNeck
from nas_fpn.necks.rehearsal import rehearse
from nas_fpn.necks.repconv import fuse_repconv
from nas_fpn.necks.resample import RESAMPLERS
from nas_fpn.necks.switchable import SwitchableConv2d, convert_convolutions

__all__ = [
    "BLOCKS",
    "MERGES",
    "RESAMPLERS",
    "Call",
    "CallChain",
    "Cell",
    "CellPlan",
    "Chain",
    "FeedbackResNet",
    "Neck",
    "RecursiveNeck",
    "SwitchableConv2d",
    "convert_convolutions",
    "fuse_repconv",
    "initialise",
    "make_cell",
    "operand_weights",
    "plan_cells",
    "rehearse",
]
