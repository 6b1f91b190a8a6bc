"""What :mod:`nas_fpn.language.draw` is made of: folding, places, curves."""

from nas_fpn.language.drawing.fold import Picture, fold

__all__ = ["Picture", "fold"]
