"""Numbers of things in a sentence."""

__all__ = ["counted"]


def counted(number: int, what: str) -> str:
    """So many of a thing, which takes an s where there is not one of it.

    >>> counted(1, "baseline"), counted(0, "trial")
    ('1 baseline', '0 trials')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
