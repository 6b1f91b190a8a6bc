"""Data and weights wherever they are: URLs brought here, and all of it checked on every node.

The driver reads images and weights when it makes the bank; trials read the bank alone. What is
checked on the other nodes is that they could take the driver's place.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas_fpn.errors import DataError, RunError
from nas_fpn.proxy.remote import facts_of, local_file, local_folder
from nas_fpn.proxy.settings import DataSettings
from nas_fpn.proxy.url import below, is_url
from nas_fpn.run.settings import Run
from nas_fpn.strange import bounded

__all__ = ["FILES", "Input", "Look", "files_of", "images_named", "inputs_of", "local_data"]

FILES = ("train", "val", "test", "warmup")  # those with a list of images
MOST_OF_JSON = 1 << 30


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a run reads, the setting that names it, and its size here.

    ``size`` is in bytes; None of a URL whose server does not say.
    """

    setting: str
    place: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a node finds of the inputs; travels to it by pickle. Calling it gives the faults."""

    inputs: tuple[Input, ...]

    def __call__(self) -> tuple[str, ...]:
        """A line for each input that is missing, unreadable, or of another size than here."""
        return tuple(fault for one in self.inputs if (fault := _fault_of(one)) is not None)


def local_data(data: DataSettings) -> DataSettings:
    """The settings with every URL replaced by a file of this machine, fetched where it is not here.

    Of a folder of images those are fetched that the annotations name. Raises :class:`RunError`
    where a URL is not reached, :class:`DataError` for a file that is not COCO.
    """
    named = files_of(data)
    here = {key: local_file(place) for key, place in named.items() if isinstance(place, str)}
    data = data.model_copy(update=here)
    if not isinstance(data.images, str):
        return data
    names = sorted({name for key in FILES for name in images_named(getattr(data, key))})
    return data.model_copy(update={"images": local_folder(data.images, names)})


def files_of(data: DataSettings) -> dict[str, Path | str]:
    """The files that ``[data]`` names, paths and URLs, by setting; not the folder of images."""
    given = {key: getattr(data, key) for key in type(data).model_fields if key != "images"}
    return {key: one for key, one in given.items() if isinstance(one, Path) or is_url(one)}


def images_named(path: Path | None) -> Iterator[str]:
    """The file names of a COCO file's images. Raises :class:`DataError` where it is none."""
    if path is None:
        return
    try:
        rows = json.loads(bounded(path, MOST_OF_JSON))["images"]
        names = [str(row["file_name"]) for row in rows]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; name one that is there") from None
    except (ValueError, KeyError, TypeError) as fault:
        raise DataError(
            f"{path}: its images cannot be listed ({type(fault).__name__}: {fault})\n"
            'a COCO file has "images", each with a "file_name"'
        ) from None
    yield from names


def inputs_of(run: Run, *, packed: Path | None = None) -> tuple[Input, ...]:
    """What a run reads from outside: its data and the weights of its backbone, as found here.

    A folder of images stands there by the first that train names. ``packed`` is a folder whose
    files came with the job, so that every node has had them. Raises :class:`RunError` naming all
    that is not here.
    """
    named = {f"[data] {key}": place for key, place in files_of(run.data).items()}
    if run.backbone.weights not in ("none", "imagenet", "own"):
        named["[backbone] weights"] = run.backbone.weights
    found, faults = [], []
    for setting, place in named.items():
        if packed is not None and _is_below(place, packed):
            continue
        try:
            found.append(Input(setting, str(place), _size(str(place))))
        except (RunError, OSError) as fault:
            faults.append(f"{setting} = {place}: {_short(fault)}")
    if faults:
        rows = "\n  ".join(faults)
        raise RunError(f"{run.folder / 'run.toml'}:\n  {rows}\nname what is there")
    images, train = run.data.images, run.data.train
    if images is not None and train is not None:
        file = local_file(train) if isinstance(train, str) else train
        first = next(images_named(file), None)
        if first is not None and not (packed is not None and _is_below(images, packed)):
            place = below(images, first) if isinstance(images, str) else str(images / first)
            found.append(_image(place))
    return tuple(found)


def _image(place: str) -> Input:
    """The first image; where it is not here, what reads the data says so with its id."""
    try:
        return Input("[data] images", place, _size(place))
    except (RunError, OSError) as fault:
        raise DataError(
            f"{place}: {_short(fault)}\nfile names in the annotations start at [data] images"
        ) from None


def _is_below(place: Path | str, folder: Path) -> bool:
    return not is_url(place) and Path(place).resolve().is_relative_to(folder.resolve())


def _fault_of(one: Input) -> str | None:
    try:
        size = _size(one.place)
    except (RunError, OSError) as fault:
        return f"{one.setting} = {one.place}: {_short(fault)}"
    if size != one.size:
        return f"{one.setting} = {one.place}: has {size} bytes, on the driver's node {one.size}"
    return None


def _size(place: str) -> int | None:
    """Bytes of a file that can be opened; None of a URL that does not say. Raises as open()."""
    if is_url(place):
        return facts_of(place).size
    with Path(place).open("rb") as file:
        return os.fstat(file.fileno()).st_size


def _short(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return fault.strerror or str(fault)
    return str(fault).splitlines()[0].partition(": ")[2] or str(fault)
