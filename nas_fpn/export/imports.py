"""Any file of another code base that holds a neck: by its name's ending, to its reader."""

from pathlib import Path

from nas_fpn.export.yolo_yaml import from_yolo_yaml
from nas_fpn.language.foreign import Imported, Options, translate
from nas_fpn.language.layout import text_of

__all__ = ["import_neck"]


def import_neck(path: Path, *, options: Options | None = None) -> Imported:
    """Read a configuration, of ultralytics where it is a YAML, and say its neck as a program.

    Nothing in the file is run. Raises SpaceError, and OSError where there is no such file.
    """
    text = text_of(path.read_bytes(), str(path))
    read = from_yolo_yaml if path.suffix in (".yaml", ".yml") else translate
    return read(text, file=str(path), options=options)
