"""What is trained to calibrate a proxy: which necks, at which fidelities, in which order.

The necks are the run's baselines, the lightest and the heaviest of many drawn from its space, some
near the median cost, so that there are pairs which size does not tell apart, and some from
anywhere. A fidelity is the run's ``[proxy]`` with another number of steps, learning rate, image
size or views, on a backbone that was tuned otherwise, or with every neck at a part of its width.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import (
    Architecture,
    Words,
    canonical,
    decode,
    fit,
    identity,
    lower,
    parse,
    sample,
)
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.report import SET_IN_PROXY
from nas_fpn.run.calibrate_settings import CalibrateSettings
from nas_fpn.run.question import Question
from nas_fpn.run.trainer import neck_cost

__all__ = [
    "Chosen",
    "Fidelity",
    "check_distinct",
    "choose_necks",
    "fidelities_of",
    "in_order",
    "scaled",
]

DRAWN = 400  # necks of the space that the extremes and the median are taken from
NEAR = 0.1  # of the median cost: two such necks differ by at most a fifth
EARLY = 4  # necks that get every seed first: a calibration that is cut knows its noise
CELL = 32  # pixels; image sizes are multiples of the coarsest stride that most necks read
EIGHT = 8  # widths are multiples of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A neck to train, why it is among them, and what it costs for one image."""

    neck: str
    why: str
    text: str
    params: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How a neck is trained in the proxy; ``width`` is a part of its own. ``label`` for people."""

    label: str
    steps: int
    learning_rate: float
    image_size: int
    views: int
    width: float
    tune_steps: int
    tune_folds: int

    @property
    def bank(self) -> tuple[int, int, int]:
        """What tells its bank from those of other fidelities: image size, and how it was tuned."""
        return self.image_size, self.tune_steps, self.tune_folds if self.tune_steps else 0

    @property
    def effort(self) -> float:
        """A number that is larger where a training is dearer."""
        return self.steps * self.image_size**2 * (0.5 + self.width**2)

    def settings(self, proxy: ProxySettings) -> ProxySettings:
        """The proxy's settings at this fidelity, with one evaluation, at the end."""
        changed = {name: getattr(self, name) for name in SET_IN_PROXY}
        return proxy.model_copy(update={**changed, "evaluations": 1})

    def backbone(self, settings: BackboneSettings) -> BackboneSettings:
        """The backbone's settings at this fidelity."""
        return settings.model_copy(
            update={"tune_steps": self.tune_steps, "tune_folds": self.tune_folds}
        )


def fidelities_of(
    proxy: ProxySettings, backbone: BackboneSettings, settings: CalibrateSettings
) -> tuple[Fidelity, ...]:
    """The proxy as it is, then the others from the cheapest; each once."""
    own = _fidelity(proxy, backbone, {})
    asked = (_fidelity(proxy, backbone, changes) for changes in settings.fidelities)
    others = {_key(one): one for one in asked}
    others.pop(_key(own), None)
    return (own, *sorted(others.values(), key=lambda one: one.effort))


def check_distinct(necks: Sequence[Chosen], fidelities: Sequence[Fidelity], words: Words) -> None:
    """Raise RunError where two fidelities come to one training of a neck, by its rounded width."""
    for neck in necks:
        architecture = parse(neck.text, words=words)
        seen: dict[tuple[Any, ...], Fidelity] = {}
        for one in fidelities:
            narrow = scaled(architecture, one.width)
            if narrow is None:
                continue
            other = seen.setdefault((*_key(replace(one, width=1.0)), str(narrow)), one)
            if other is not one:
                raise RunError(
                    f"[calibrate] fidelities: {other.label!r} and {one.label!r} train neck "
                    f"{neck.neck} alike, at width {narrow.width}\n"
                    f"widths are multiples of {EIGHT}: leave one of the two out, or take another"
                )


def choose_necks(
    question: Question, bank: Bank, settings: CalibrateSettings, *, seed: int
) -> tuple[Chosen, ...]:
    """Baselines, extremes and random necks, so many as the settings say, or as there are.

    Each canonical neck once. The order is that in which they are trained: the kinds in turn.
    """
    rng = random.Random(seed)
    space = question.space
    drawn: dict[str, Chosen] = {}
    for _ in range(DRAWN):
        chosen = _chosen(canonical(decode(space, sample(space, rng))), "random", bank)
        drawn.setdefault(chosen.neck, chosen)
    baselines = [_chosen(one.neck, one.name, bank) for one in question.baselines]
    known = {one.neck for one in baselines}
    pool = sorted(
        (one for neck, one in drawn.items() if neck not in known), key=lambda one: one.macs
    )
    ends = [] if len(pool) < 2 else [_called(pool[0], "lightest"), _called(pool[-1], "heaviest")]
    between = pool[1:-1]
    middle = between[len(between) // 2].macs if between else 0
    near = [one for one in between if abs(one.macs - middle) <= NEAR * middle]
    room = max(settings.necks - len(baselines) - len(ends), 0)
    alike = rng.sample(near, min(-(-room // 2), len(near)))
    rest = [one for one in between if one not in alike]
    others = rng.sample(rest, min(room - len(alike), len(rest)))
    kinds = [baselines, ends, [_called(one, "of median cost") for one in alike], others]
    found: list[Chosen] = []
    while any(kinds) and len(found) < settings.necks:
        found += [kind.pop(0) for kind in kinds if kind][: settings.necks - len(found)]
    return tuple(found)


def in_order(necks: Sequence[Chosen], seeds: Sequence[int]) -> Iterator[tuple[Chosen, int]]:
    """Necks and seeds in the order of training: a few with every seed, then seed by seed."""
    yield from ((neck, seed) for neck in necks[:EARLY] for seed in seeds)
    yield from ((neck, seed) for seed in seeds for neck in necks[EARLY:])


def scaled(architecture: Architecture, part: float) -> Architecture | None:
    """The neck at a part of its width, a multiple of eight; None where it fits no such width."""
    if part == 1:
        return architecture
    width = max(round(architecture.width * part / EIGHT), 1) * EIGHT
    try:
        return fit(
            architecture, width=width, levels=[level for level, _ in lower(architecture).outputs]
        )
    except SpaceError:
        return None


def _fidelity(
    proxy: ProxySettings, backbone: BackboneSettings, changes: Mapping[str, float]
) -> Fidelity:
    steps = max(round(proxy.steps * changes.get("steps", 1)), 1)
    size = proxy.image_size
    if "image_size" in changes:
        size = max(round(size * changes["image_size"] / CELL), 1) * CELL
    views = min(round(changes.get("views", proxy.views)), proxy.views)
    width = changes.get("width", 1.0)
    rate = proxy.learning_rate
    if "learning_rate" in changes:
        rate = float(f"{rate * changes['learning_rate']:.6g}")  # as one would write it
    tuned = round(changes.get("tune_steps", backbone.tune_steps))
    folds = round(changes.get("tune_folds", backbone.tune_folds))
    said = [
        f"{steps} steps" if steps != proxy.steps else "",
        f"rate {rate:g}" if rate != proxy.learning_rate else "",
        f"{size} px" if size != proxy.image_size else "",
        f"{views} view{'s' if views != 1 else ''}" if views != proxy.views else "",
        f"width × {width:g}" if width != 1 else "",
        _tuned(tuned, folds, backbone),
    ]
    label = ", ".join(part for part in said if part) or "[proxy] as it is"
    return Fidelity(
        label=label,
        steps=steps,
        learning_rate=rate,
        image_size=size,
        views=views,
        width=width,
        tune_steps=tuned,
        tune_folds=folds,
    )


def _tuned(steps: int, folds: int, backbone: BackboneSettings) -> str:
    """What is otherwise than in ``[backbone]`` about the tuning."""
    if not steps:
        return "not tuned" if backbone.tune_steps else ""
    if (steps, folds) == (backbone.tune_steps, backbone.tune_folds):
        return ""
    return f"tuned {steps} steps" + (f" in {folds} folds" if folds > 1 else ", no folds")


def _key(one: Fidelity) -> tuple[Any, ...]:
    return (one.steps, one.learning_rate, one.views, one.width, one.bank)


def _chosen(architecture: Architecture, why: str, bank: Bank) -> Chosen:
    price = neck_cost(architecture, bank)
    return Chosen(
        neck=identity(architecture),
        why=why,
        text=str(architecture),
        params=price.params,
        macs=price.macs,
    )


def _called(one: Chosen, why: str) -> Chosen:
    return Chosen(neck=one.neck, why=why, text=one.text, params=one.params, macs=one.macs)
