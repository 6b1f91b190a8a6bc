"""Views of a run that can be made again from its record: tables."""

from nas_fpn.report.table import frame, verdict

__all__ = ["frame", "verdict"]
