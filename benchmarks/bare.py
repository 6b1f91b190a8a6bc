"""A virtual environment that holds a few distributions and what they require, and nothing else.

Nothing is downloaded: each file is a link to that of the environment that runs this, so that a
library asked for in it is there or is not, as for a user who has installed just these.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Bare", "installed", "make_bare", "required"]


@dataclass(frozen=True, slots=True)
class Bare:
    """An environment: its interpreter, and the versions of all that is in it, by name."""

    python: Path
    versions: Mapping[str, str]


def installed(paths: Iterable[str] = ()) -> dict[str, Distribution]:
    """What is installed, by normalised name: in ``paths`` first, then where Python looks."""
    found: dict[str, Distribution] = {}
    for one in distributions(path=[*paths, *sys.path]):
        found.setdefault(canonicalize_name(one.metadata["Name"]), one)
    return found


def required(names: Sequence[str], known: Mapping[str, Distribution]) -> list[Distribution]:
    """The named distributions and all they require, where it is installed, by name.

    Markers are those of this interpreter. An extra counts where a requirement asks for it, as
    torch's does of its CUDA libraries. Raises KeyError for a name that is not installed.
    """
    kept = {canonicalize_name(name): known[canonicalize_name(name)] for name in names}
    open_, seen = [(name, "") for name in kept], set[tuple[str, str]]()
    while open_:
        name, extra = open_.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for wanted in map(Requirement, known[name].requires or ()):
            other = canonicalize_name(wanted.name)
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": extra})
            if applies and other in known:
                kept[other] = known[other]
                open_ += [(other, part) for part in ("", *wanted.extras)]
    return [kept[name] for name in sorted(kept)]


def make_bare(folder: Path, names: Sequence[str], known: Mapping[str, Distribution]) -> Bare:
    """Make the environment in ``folder``. Raises KeyError for a name that is not installed."""
    found = required(names, known)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for one in found:
        for inside, file in _files(one):
            place = site / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():  # a file that two distributions share
                place.symlink_to(file)
    return Bare(folder / "bin" / "python", {one.metadata["Name"]: one.version for one in found})


def _files(one: Distribution) -> Iterator[tuple[str, Path]]:
    for file in one.files or ():
        source = Path(str(file.locate())).absolute()
        if ".." not in file.parts and file.suffix != ".pth" and source.is_file():
            yield str(file), source
