"""What :mod:`nas_fpn.language.draw` is made of: pictures, places, curves, the sheet."""

from nas_fpn.language.drawing.fold import fold
from nas_fpn.language.drawing.picture import Picture

__all__ = ["Picture", "fold"]
