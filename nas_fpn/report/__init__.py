"""Views of a run that can be made again from its record: tables and what they say."""

from nas_fpn.report.answer import answer_json, answer_text, verdict
from nas_fpn.report.table import frame

__all__ = ["answer_json", "answer_text", "frame", "verdict"]
