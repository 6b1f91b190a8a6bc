"""What other code bases write for a neck, read as text and said again in the neck language."""

from nas_fpn.language.foreign.imported import Imported, Options
from nas_fpn.language.foreign.read import translate

__all__ = ["Imported", "Options", "translate"]
