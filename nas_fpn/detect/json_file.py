"""A user's JSON file, read; what is wrong with it said by place."""

import json
from pathlib import Path
from typing import Any

from nas_fpn.errors import DataError

__all__ = ["read_json"]


def read_json(path: Path, *, form: str) -> Any:
    """The document of a UTF-8 file, with or without a byte order mark.

    Raises:
        DataError: where there is none; ``form`` says what it must be.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it must be {form}") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}; "
            "is the file cut off? write or copy it again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON text: {error}") from None
