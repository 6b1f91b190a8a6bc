"""In which form a neck leaves."""

from dataclasses import dataclass

__all__ = ["PLAIN", "Form"]


@dataclass(frozen=True, slots=True)
class Form:
    """``deploy``: norms folded and rep-blocks merged; ``formats``: the files written beside it."""

    deploy: bool = False
    formats: tuple[str, ...] = ()  # of export/formats.py: "onnx", "pt2"


PLAIN = Form()
