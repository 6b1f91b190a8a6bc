"""In which form a neck leaves."""

from dataclasses import dataclass

__all__ = ["PLAIN", "Form"]


@dataclass(frozen=True, slots=True)
class Form:
    """``deploy``: norms folded and rep-blocks merged; ``formats``: the files written beside it.

    ``width``: the neck at another width, trained anew where it comes from a run. ``adapters``: the
    libraries that get a file beside it.
    """

    deploy: bool = False
    formats: tuple[str, ...] = ()  # of export/formats.py: "onnx", "pt2"
    width: int | None = None
    adapters: tuple[str, ...] = ()  # of export/adapters: "torchvision", … or "all"


PLAIN = Form()
