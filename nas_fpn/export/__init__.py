"""A neck leaves for good: a folder that needs torch and nothing of this package."""

from nas_fpn.export.folder import export_neck
from nas_fpn.export.source import neck_source

__all__ = ["export_neck", "neck_source"]
