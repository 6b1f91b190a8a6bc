"""A neck with its first weights, exported: no run, no training, channels of the user's own."""

from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.export import PLAIN, Form, export_neck
from nas_fpn.language import Architecture, lower
from nas_fpn.necks import Neck

__all__ = ["export_untrained"]


def export_untrained(
    architecture: Architecture,
    to: Path,
    *,
    channels: str | None,
    seed: int,
    form: Form = PLAIN,
) -> None:
    """Export a neck with its first weights, for a backbone whose ``channels`` are "512,1024,2048".

    ``form.width`` is another width than the program's.

    Raises:
        RunError: where ``channels`` does not have one number per level that the neck reads.
    """
    inputs = lower(architecture).inputs
    given = [] if channels is None else channels.split(",")
    if len(given) != len(inputs) or not all(_is_count(one.strip()) for one in given):
        raise RunError(
            f"--in-channels must have one number per level {', '.join(f'c{k}' for k in inputs)}, "
            f"finest first, but got {channels!r}\nfor a ResNet-50's c3, c4, c5: 512,1024,2048"
        )
    if form.width is not None:
        architecture = architecture.with_width(form.width)
    neck = Neck(architecture, [int(one) for one in given], seed=seed)
    origin = {"weights": f"first ones, seed {seed}; not trained"}
    export_neck(neck, to, provenance=origin, form=form)


def _is_count(text: str) -> bool:
    return text.isdecimal() and int(text) > 0
