"""What a job takes along: the files that a run names by relative paths, and this program.

One rule decides: a path relative to ``run.toml`` goes along and keeps its place beside it, so that
the run reads there as it does here; an absolute path and a URL stay where they are, and the nodes
of the cluster must reach them.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nas_fpn
from nas_fpn.errors import DataError, RunError
from nas_fpn.language.files import shipped_folder
from nas_fpn.proxy.own_backbone import own_file
from nas_fpn.proxy.remote import harmless
from nas_fpn.run.inputs import FILES, files_of, images_named
from nas_fpn.run.plan_measure import CALIBRATION
from nas_fpn.run.prior import prior_names
from nas_fpn.run.settings import Run

__all__ = ["INPUTS", "MANIFEST", "MOST_BYTES", "Package", "collect", "write_archive"]

INPUTS = "inputs"  # in the archive: the run's files
MANIFEST = "job.json"  # in the archive: what is to be done with them
MOST_BYTES = 100 << 20  # of what goes along; more belongs where all nodes reach it
SHOWN = 3

EPOCH = (1980, 1, 1, 0, 0, 0)  # equal files give equal archives, which are sent once


@dataclass(frozen=True, slots=True)
class Package:
    """Files of a run by their place in the archive, and the place of the run's folder.

    ``stays`` are the paths and URLs, with their settings, that do not go along.
    """

    run: str
    files: Mapping[str, Path]
    stays: tuple[tuple[str, str], ...]

    @property
    def bytes(self) -> int:
        """Their length in all."""
        return sum(path.stat().st_size for path in self.files.values())


def collect(run: Run, also: Iterable[Path] = (), *, most: int = MOST_BYTES) -> Package:
    """Find what goes along: what ``run.toml`` names, its record, and the files ``also``.

    Images are those that the annotation files name. Raises :class:`RunError` for a file that is
    not there, for an image that a name seeks outside their folder, and for more than ``most``
    bytes; the message names the largest.
    """
    named = dict(_named(run))
    stays = tuple(
        (setting, text)
        for setting, text in named.items()
        if "://" in text or Path(text).is_absolute()
    )
    files = {(run.folder / "run.toml").resolve(): "run.toml"}
    for name in ("history.jsonl", CALIBRATION):  # what a search goes by, beside what is named
        if (run.folder / name).is_file():
            files[(run.folder / name).resolve()] = name
    for setting, text in named.items():
        if (setting, text) not in stays:
            for path in _below(run, setting, run.folder / text):
                files[_absolute(path)] = setting
    for path in also:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if path.is_dir() and not file.is_file():
                continue
            files[_absolute(file)] = "--also"
    for path, setting in files.items():
        if not path.is_file():
            raise RunError(f"{setting}: {path}: no such file\nname one that is there")
    sizes = {path: path.stat().st_size for path in files}
    if (whole := sum(sizes.values())) > most:
        raise RunError(_too_much(run, sizes, files, whole=whole, most=most))
    top = Path(os.path.commonpath([run.folder, *(path.parent for path in files)]))
    return Package(
        run=_place(run.folder, top),
        files={_place(path, top): path for path in sorted(files)},
        stays=stays,
    )


def write_archive(
    to: Path, files: Mapping[str, Path], manifest: Mapping[str, Any], *, program: bool
) -> int:
    """Write the zip of a job; its length in bytes.

    It holds ``files`` by their places, the ``manifest`` with the SHA-256 of each, and the sources
    of this package, unless the cluster has its own (``program`` false).
    """
    content = {place: path.read_bytes() for place, path in files.items()}
    hashes = {place: hashlib.sha256(data).hexdigest() for place, data in content.items()}
    content[MANIFEST] = json.dumps({**manifest, "files": hashes}, indent=1).encode()
    if program:
        content |= {place: path.read_bytes() for place, path in _program()}
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for place in sorted(content):
            entry = zipfile.ZipInfo(place, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[place])
    return to.stat().st_size


def _named(run: Run) -> Iterator[tuple[str, str]]:
    """The settings that name files, and what they name, as written."""
    settings = run.settings
    yield from ((f"words[{i}]", name) for i, name in enumerate(settings.words))
    if settings.space.endswith((".space", ".neck")):
        yield "space", settings.space
    if settings.controller.endswith(".py") or "/" in settings.controller:
        yield "controller", settings.controller
    for i, name in enumerate(settings.baselines):
        if name.endswith((".space", ".neck")):
            yield f"baselines[{i}]", name
    for i, name in enumerate(prior_names(run)):
        if name.endswith(".neck"):
            yield f"controller_settings.prior[{i}]", name
        elif (run.folder / name / "history.jsonl").is_file():
            yield f"controller_settings.prior[{i}]", f"{name}/history.jsonl"
    if (own := own_file(settings.backbone.name)) is not None:
        yield "[backbone] name", str(own[0])
    if settings.backbone.weights not in ("none", "imagenet", "own"):
        yield "[backbone] weights", settings.backbone.weights
    for key, file in files_of(settings.data).items():
        yield f"[data] {key}", str(file)
    if settings.data.images is not None:
        yield "[data] images", str(settings.data.images)


def _below(run: Run, setting: str, path: Path) -> Iterator[Path]:
    """The file itself; of the folder of images the files that the annotations name."""
    if setting != "[data] images" or not path.is_dir():
        yield path
        return
    for key in FILES:
        file = getattr(run.data, key)
        if not isinstance(file, Path):
            continue
        where = f"[data] {key}: {file}"
        try:
            names = sorted(set(images_named(file)))
        except DataError:
            raise RunError(
                f"{where}: no COCO file here, so which images go along is not known\n"
                "mend it, or give images too as an absolute path that the nodes reach"
            ) from None
        inside = [harmless(name, where) for name in names]  # all, before one is looked for
        yield from (path / name for name in inside if (path / name).is_file())


def _absolute(path: Path) -> Path:
    """Without ``..``, links kept: a link in the run's folder keeps its place there."""
    return Path(os.path.normpath(path.absolute()))


def _place(path: Path, top: Path) -> str:
    return str(PurePosixPath(INPUTS) / PurePosixPath(path.relative_to(top).as_posix()))


def _too_much(
    run: Run, sizes: Mapping[Path, int], files: Mapping[Path, str], *, whole: int, most: int
) -> str:
    largest = sorted(sizes, key=lambda path: -sizes[path])[:SHOWN]
    rows = [f"  {sizes[path] >> 10:8d} KiB  {files[path]}: {path}" for path in largest]
    return "\n".join(
        [
            f"{run.folder}: {whole >> 20} MiB would go along, in {len(sizes)} files; at most "
            f"{most >> 20} MiB do. The largest:",
            *rows,
            "put data where all nodes reach it, and write an absolute path or a URL (s3://…) in "
            "run.toml; such a path stays where it is",
        ]
    )


def _program() -> Iterator[tuple[str, Path]]:
    """The sources of this package as a wheel lays them out, with what it ships."""
    package = Path(str(nas_fpn.__file__)).parent
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield f"nas_fpn/{path.relative_to(package).as_posix()}", path
    for kind in ("search_spaces", "controllers"):
        folder = shipped_folder(kind)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"nas_fpn/shipped/{kind}/{path.relative_to(folder).as_posix()}", path
