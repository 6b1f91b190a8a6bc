"""What an adapter knows of a neck: numbers and the neck's id, no text of its program."""

from dataclasses import dataclass
from typing import Self

from nas_fpn.export.header import span
from nas_fpn.language.canonical import identity
from nas_fpn.necks.neck import Neck

__all__ = ["Facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """``inputs`` are the levels read, with ``in_channels``; ``levels`` those given.

    ``scaled``: ``features.safetensors`` beside the weights says what the neck's features are scaled
    by.
    """

    identity: str
    inputs: tuple[int, ...]
    in_channels: tuple[int, ...]
    levels: tuple[int, ...]
    out_channels: tuple[int, ...]
    scaled: bool
    deploy: bool

    @classmethod
    def of(cls, neck: Neck, *, scaled: bool, deploy: bool) -> Self:
        """The facts of a neck that is exported."""
        return cls(
            identity=identity(neck.architecture),
            inputs=tuple(neck.inputs),
            in_channels=tuple(neck.in_channels),
            levels=tuple(neck.levels),
            out_channels=tuple(neck.out_channels),
            scaled=scaled,
            deploy=deploy,
        )

    @property
    def key(self) -> str:
        """A name that no other neck has, nor its deployed form: ``neck_a6afd375``."""
        return f"neck_{self.identity}{'_deployed' if self.deploy else ''}"

    @property
    def read(self) -> str:
        """The features read: ``c3..c5``."""
        return span("c", self.inputs)

    @property
    def given(self) -> str:
        """The features given: ``p3..p7``."""
        return span("p", self.levels)

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of ``levels``, in pixels."""
        return tuple(2**level for level in self.levels)
