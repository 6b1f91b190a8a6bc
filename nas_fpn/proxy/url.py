"""What may stand where a path stands: a URL of a file or folder that is fetched when it is read."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator

__all__ = ["SCHEMES", "Place", "below", "checked_url", "is_url"]

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "http", "https", "file", "memory")


def is_url(place: object) -> bool:
    """Whether a place is to be fetched.

    >>> is_url("s3://bucket/train.json"), is_url("data/train.json"), is_url(Path("train.json"))
    (True, False, False)
    """
    return isinstance(place, str) and "://" in place


def checked_url(url: str) -> str:
    """The URL, if it is one that can be fetched. Raises ValueError.

    A record keeps it as it is written, so no password stands in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f"{parts.scheme}:// is not read here; {known} are")
    if "@" in parts.netloc and parts.scheme not in ("abfs", "abfss"):
        raise ValueError(
            "should hold no name and password: the record keeps it; give them by the environment"
        )
    if not parts.path.strip("/") and not (parts.scheme == "memory" and parts.netloc):
        raise ValueError("should name a file or a folder")
    return url


def below(folder: str, name: str) -> str:
    """The URL of a file in the folder of a URL, whose query stays at the end.

    >>> below("s3://bucket/images/?region=eu", "a/1.png")
    's3://bucket/images/a/1.png?region=eu'
    """
    path, mark, query = folder.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _place(given: object) -> object:
    if is_url(given):
        return checked_url(str(given))
    if isinstance(given, str):
        return Path(given)
    if not isinstance(given, Path):
        raise ValueError("should be a path or a URL")
    return given


Place = Annotated[Path | str, BeforeValidator(_place)]  # a str is a URL
