"""How many channels a feature has, before the answers are known: a number, or a sum of unknowns.

An unknown is what one decision of the file, or the backbone, fills in: ``width`` where that is a
hole, a ``let`` whose options name their channels, a raw ``c4``. Two features whose sums are the
same have equal channels under every genotype, because each unknown is one number in one walk.
"""

from dataclasses import dataclass

from nas_fpn.language.names import is_backbone

__all__ = ["MOST_CHANNELS", "Channels", "number", "unknown"]

MOST_CHANNELS = 65_536  # of one feature: what `concat[plain]` may add up to


@dataclass(frozen=True, slots=True)
class Channels:
    """``number`` plus so many times each unknown; ``terms`` are (name, times), sorted by name.

    ``most`` is the largest that it can be; a raw ``c`` counts as 1.
    """

    number: int
    terms: tuple[tuple[str, int], ...] = ()
    most: int = 0

    @property
    def is_raw(self) -> bool:
        """Whether the backbone's own channels are among them."""
        return any(is_backbone(name) for name, _ in self.terms)

    def __add__(self, other: "Channels") -> "Channels":
        times = dict(self.terms)
        for name, more in other.terms:
            times[name] = times.get(name, 0) + more
        return Channels(
            self.number + other.number, tuple(sorted(times.items())), self.most + other.most
        )

    def __str__(self) -> str:
        said = [str(self.number)] if self.number or not self.terms else []
        said += [name if times == 1 else f"{times} {name}" for name, times in self.terms]
        return " + ".join(said)


def number(channels: int) -> Channels:
    """A known number of channels."""
    return Channels(channels, (), channels)


def unknown(name: str, most: int) -> Channels:
    """What a decision or the backbone fills in: at most ``most``."""
    return Channels(0, ((name, 1),), most)
