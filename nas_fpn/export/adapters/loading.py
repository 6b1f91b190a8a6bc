"""What every adapter has at its end: a function that makes the neck with its weights.

The same lines stand in each, so that a file goes with ``neck.py`` and no other.
"""

from string import Template

from nas_fpn.export.adapters.facts import Facts

__all__ = ["NECK", "fill"]

NECK = """\
if __package__:  # the folder is part of a package
    from .neck import Neck
else:
    from neck import Neck"""

_MAKE = '''\
def make_neck(in_channels: Sequence[int], *, weights: bool) -> nn.Module:
    """Make the neck for a backbone's channels, with the ``weights`` beside this file or new ones.

    The weights fit one backbone's channels: ValueError for others.
    """
    neck = Neck(in_channels)
    if not weights:
        return neck
    if tuple(in_channels) != IN_CHANNELS:
        raise ValueError(
            f"the weights of this neck are for {IN_CHANNELS} channels, but the backbone has "
            f"{tuple(in_channels)}; neck_weights=False starts anew"
        )
    neck.load_state_dict(load_file(FOLDER / "model.safetensors"))
    return $made
'''

_SCALE = '''

class Scale(nn.Module):
    """Backbone features as the neck was trained to take them: (c - mean) / std by channel."""

    def __init__(self) -> None:
        super().__init__()
        kept = load_file(FOLDER / "features.safetensors")
        for kind in ("mean", "std"):
            for level in INPUTS:
                value = kept[f"{kind}.c{level}"].view(1, -1, 1, 1)
                self.register_buffer(f"{kind}_c{level}", value)

    def forward(self, features: Sequence[Tensor] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Scale backbone features [B, C, H, W], finest first."""
        if isinstance(features, Mapping):
            features = tuple(features.values())
        return tuple(
            (feature - getattr(self, f"mean_c{level}")) / getattr(self, f"std_c{level}")
            for level, feature in zip(INPUTS, features, strict=True)
        )
'''


def fill(text: str, facts: Facts, **others: object) -> str:
    """The source of an adapter: its template with the facts in it, and how the neck is made.

    ``$neck`` stands for the import of the neck, ``$mapping`` for what ``collections.abc`` gives.
    """
    wanted = ["Mapping"] if facts.scaled or "Mapping[" in text else []
    made = "nn.Sequential(Scale(), neck)" if facts.scaled else "neck"
    tail = Template(_MAKE).substitute(made=made) + (_SCALE if facts.scaled else "")
    return Template(f"{text}\n\n{tail}").substitute(
        {
            "neck": NECK,
            "abc": ", ".join([*wanted, "Sequence"]),
            "id": facts.identity,
            "key": facts.key,
            "read": facts.read,
            "given": facts.given,
            "inputs": facts.inputs,
            "in_channels": facts.in_channels,
            "levels": facts.levels,
            "out_channels": facts.out_channels,
            "strides": facts.strides,
            **others,
        }
    )
