"""A space as the search sees it: the levels it reads, what a controller may know, its controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import (
    SHIPPED,
    Architecture,
    Repeat,
    Space,
    Words,
    canonical,
    choices,
    cost,
    decode,
    find_neck,
    find_space,
    fit,
    identity,
    lower,
    read,
    read_neck,
)
from nas_fpn.language.features import features
from nas_fpn.language.names import is_backbone, level_of
from nas_fpn.proxy.own_backbone import own_file
from nas_fpn.record import Genotype
from nas_fpn.run.own_words import prove_words, read_words
from nas_fpn.run.settings import Run
from nas_fpn.search import Problem, find_controller

__all__ = ["Fitted", "Frame", "Question", "frame_of", "make_problem", "named_file", "read_question"]

REMEMBERED = 1 << 12  # genotypes whose id and features a problem keeps at hand: about 50 MB


@dataclass(frozen=True, slots=True)
class Frame:
    """What all necks of a space share.

    ``reads`` are the levels that some neck of it reads from the backbone, ``levels`` those that
    every one gives, finest first; ``width`` is the largest of its widths.
    """

    reads: tuple[int, ...]
    levels: tuple[int, ...]
    width: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """A hand-designed neck at a run's own width and levels; ``note`` says what that took."""

    name: str
    neck: Architecture
    note: str


@dataclass(frozen=True, slots=True)
class Question:
    """What the names in a ``run.toml`` mean: files found and read, baselines fitted.

    ``levels`` are those that the backbone has to give; ``warmup_neck`` is an FPN. The sources are
    what the files held when they were read: an edit in the meantime changes nothing. Those of the
    backbone are None where it is timm's.
    """

    space: Space
    space_file: Path
    space_source: bytes
    controller_file: Path
    controller_source: bytes
    backbone_file: Path | None
    backbone_source: bytes | None
    frame: Frame
    levels: tuple[int, ...]
    baselines: tuple[Fitted, ...]
    warmup_neck: Architecture


def read_question(run: Run) -> Question:
    """Find and read the space, the controller and the baselines of a run.

    Names are of what is shipped; paths are relative to the run's folder.

    Raises:
        RunError: naming all that is not found or wrong at once.
    """
    settings, faults = run.settings, []
    words = read_words(run)
    try:
        prove_words(words)
    except SpaceError as fault:
        raise _faults(run, [f"words: {fault}"]) from None
    frame, controller = None, None
    try:
        path = find_space(named_file(run, settings.space))
        space = read(path, words=words)
        frame = frame_of(space)
    except SpaceError as fault:
        faults.append(f"space = {settings.space!r}: {fault}")
    try:
        controller = find_controller(settings.controller, base=run.folder)
    except RunError as fault:
        faults.append(str(fault))
    own = own_file(run.backbone.name)
    if own is not None and not own[0].is_file():
        faults.append(f"backbone.name = {run.settings.backbone.name!r}: {own[0]}: no such file")
    if frame is None or controller is None:
        raise _faults(run, faults)
    baselines = []
    for name in settings.baselines:
        try:
            baselines.append(_fitted(find_neck(named_file(run, name)), frame, words))
        except SpaceError as fault:
            faults.append(f"baselines: {name!r}: {fault}")
    if faults:
        raise _faults(run, faults)
    return Question(
        space=space,
        space_file=path,
        space_source=path.read_bytes(),
        controller_file=controller,
        controller_source=controller.read_bytes(),
        backbone_file=None if own is None else own[0],
        backbone_source=None if own is None else own[0].read_bytes(),
        frame=frame,
        levels=tuple(
            sorted({*frame.reads, *(k for one in baselines for k in lower(one.neck).inputs)})
        ),
        baselines=tuple(baselines),
        warmup_neck=_fitted(find_neck("fpn"), frame, SHIPPED).neck,
    )


def frame_of(space: Space) -> Frame:
    """The frame of a space.

    The first options and the last ones together read every ``c`` that any neck reads: ``*``
    draws no ``c``, and an optional operand is absent in the one and present in the other.
    """
    counts = [choice.count for choice in choices(space)]
    ends = [decode(space, [0] * len(counts)), decode(space, [count - 1 for count in counts])]
    widths = (space.width,) if isinstance(space.width, int) else space.width.options
    return Frame(
        reads=tuple(sorted({level for end in ends for level in _reads(end)})),
        levels=tuple(level for level, _ in lower(ends[0]).outputs),
        width=max(widths),
    )


def make_problem(
    space: Space,
    in_channels: Mapping[int, int],
    *,
    image_size: int,
    objectives: tuple[str, ...],
    prior: tuple[Genotype, ...] = (),
) -> Problem:
    """All that a controller may know of a space, as choices and numbers.

    ``in_channels`` by level and ``image_size`` (pixels) are for the cost among the features.
    """
    frame, words = frame_of(space), tuple(space.words.rows)

    @lru_cache(maxsize=REMEMBERED)
    def identify(genotype: Genotype) -> str:
        return identity(decode(space, genotype))

    @lru_cache(maxsize=REMEMBERED)
    def describe(genotype: Genotype) -> Mapping[str, float]:
        graph = lower(canonical(decode(space, genotype)))
        price = cost(graph, in_channels, image_size=image_size)
        return MappingProxyType(
            features(graph, price, words=words, reads=frame.reads, levels=frame.levels)
        )

    return Problem(
        choices=choices(space),
        identity=identify,
        describe=describe,
        objectives=objectives,
        prior=prior,
    )


def named_file(run: Run, name: str) -> str | Path:
    """A shipped name as it is; a path from the run's folder."""
    return run.folder / name if name.endswith((".space", ".neck")) else name


def _faults(run: Run, faults: list[str]) -> RunError:
    rows = "\n".join(faults).replace("\n", "\n  ")
    return RunError(f"{run.folder / 'run.toml'}:\n  {rows}")


def _fitted(path: Path, frame: Frame, words: Words) -> Fitted:
    shipped = read_neck(path, words=words)
    neck = fit(shipped, width=frame.width, levels=frame.levels)
    return Fitted(path.stem, neck, _note(path.stem, shipped, neck))


def _note(name: str, shipped: Architecture, neck: Architecture) -> str:
    """What fitting changed, in words."""
    before = {level for level, _ in lower(shipped).outputs}
    after = {level for level, _ in lower(neck).outputs}
    said = [f"width {neck.width}"]
    for levels, what in ((before - after, "cut"), (after - before, "added by subsample")):
        if levels:
            said.append(f"{', '.join(f'p{level}' for level in sorted(levels))} {what}")
    return f"baseline {name}: {'; '.join(said)}"


def _reads(architecture: Architecture) -> set[int]:
    lines = [
        line
        for item in architecture.items
        for line in (item.lines if isinstance(item, Repeat) else (item,))
    ]
    features = {operand.feature for line in lines for operand in line.operands}
    return {level_of(name) or 0 for name in features if is_backbone(name)}
