"""Backbone and neck run again, with the pyramid fed back: DetectoRS' recursive feature pyramid.

Qiao et al. 2021, arXiv:2006.02334, section 3. What comes here is no neck of the language, since it
holds the backbone: it takes images.

A backbone that can be fed is a module ``backbone(images, feedback)`` that gives its features by
level, ``dict[int, Tensor]``. ``feedback`` has a tensor of the feature's own shape for some levels,
or is empty: then the backbone does what it does alone. Where it is added is the backbone's affair;
DetectoRS adds it in the first block of the stage that gives the level, after the residual sum and
before the last ReLU. :class:`FeedbackResNet` does so for the ResNets of torchvision and timm.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nas_fpn.necks.context import Aspp
from nas_fpn.necks.neck import Neck

__all__ = ["FeedbackResNet", "RecursiveNeck"]

STAGES = ("layer1", "layer2", "layer3", "layer4")  # of levels 2..5
STEM = ("conv1", "bn1", "maxpool")


class RecursiveNeck(nn.Module):
    """Run a backbone and a neck ``steps`` times, each time fed with the pyramid of the last.

    With ``c = backbone_1(images)`` and ``x = neck(c)``, each further step ``t`` is ::

        y = neck(backbone_t(images, {k: feed_t,k(aspp(x_k)) for the fed levels k}))
        a = sigmoid(gate(y))            # [B, 1, H, W]: a 1x1 convolution to one channel
        x = a * y + (1 - a) * x

    One ``neck``, one ``aspp`` (``width`` channels) and one ``gate`` serve all levels and steps.
    ``feedback_channels`` says which levels are fed, and the channels of the backbone there; each
    has a 1x1 convolution ``feed`` of its own, which starts at zero, so that the first pyramid is
    that of backbone and neck alone. The gate starts at 0.5, ASPP as in the official code: normal
    with deviation ``sqrt(2 / (k * k * out_channels))``, drawn from ``seed`` or else from torch's
    global generator.

    Each further step has a copy of the backbone as it is when given (load its weights first), and
    its own ``feed``; with ``shared``, the official ``rfp_sharing``, all steps use the one backbone
    and one ``feed``. The published settings are ``steps=2, width=256`` and feedback to c3..c5 of
    a pyramid p2..p6.

    Differences: ASPP runs on the fed levels only, where the published code makes it for the others
    too and drops it; ``feed`` lives here, not in the backbone; mmdetection starts ``feed`` and
    ASPP at torch's defaults. In training, norms of the neck see a batch ``steps`` times.

    ``levels``, ``strides`` and ``out_channels`` are those of the neck. Raises ValueError for fewer
    than 2 steps, a neck whose levels differ in channels, a fed level that the neck does not both
    read and give (only there is the pyramid as large as the backbone's feature), or a ``width``
    that 4 does not divide.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: Neck,
        *,
        feedback_channels: Mapping[int, int],
        steps: int = 2,
        width: int = 256,
        shared: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if steps < 2:
            raise ValueError(
                f"steps must be at least 2, since the first has no feedback, but got steps={steps}"
            )
        if len(set(neck.out_channels)) > 1:
            raise ValueError(
                "the neck must give the same channels at all levels, since one ASPP and one gate "
                f"serve them all, but got out_channels={neck.out_channels}"
            )
        able = sorted(set(neck.inputs) & set(neck.levels))
        if not feedback_channels or not set(feedback_channels) <= set(able):
            raise ValueError(
                "feedback_channels must name levels that the neck both reads and gives, here "
                f"{', '.join(map(str, able)) or 'none'}, "
                f"but got feedback_channels={dict(feedback_channels)}"
            )
        if width % 4:
            raise ValueError(
                f"width must be divisible by 4, the views of ASPP, but got width={width}"
            )
        self.inputs = neck.inputs
        self.levels = neck.levels
        self.strides = neck.strides
        self.out_channels = neck.out_channels
        self.steps = steps
        self.shared = shared
        copies = 0 if shared else steps - 1
        self.backbones = nn.ModuleList(
            [backbone, *(copy.deepcopy(backbone) for _ in range(copies))]
        )
        self.neck = neck
        with torch.random.fork_rng(devices=[]):  # what torch draws here is drawn again below
            self.aspp = Aspp(neck.out_channels[0], width)
            self.gate = nn.Conv2d(neck.out_channels[0], 1, 1)
            self.feed = nn.ModuleList(
                nn.ModuleDict(
                    {
                        str(level): nn.Conv2d(width, channels, 1)
                        for level, channels in sorted(feedback_channels.items())
                    }
                )
                for _ in range(max(copies, 1))
            )
        _initialise(self, None if seed is None else torch.Generator().manual_seed(seed))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Take images [B, 3, S, T] to the features of ``levels`` [B, out_channels, H, W]."""
        pyramid = self._pass(images, 0, {})
        for step in range(1, self.steps):
            feeds = self.feed[0 if self.shared else step - 1]
            assert isinstance(feeds, nn.ModuleDict)
            feedback = {
                int(level): feed(self.aspp(pyramid[self.levels.index(int(level))]))
                for level, feed in feeds.items()
            }
            again = self._pass(images, step, feedback)
            pyramid = tuple(self._fuse(y, x) for y, x in zip(again, pyramid, strict=True))
        return pyramid

    def _pass(
        self, images: Tensor, step: int, feedback: Mapping[int, Tensor]
    ) -> tuple[Tensor, ...]:
        features = self.backbones[0 if self.shared else step](images, feedback)
        pyramid: tuple[Tensor, ...] = self.neck([features[level] for level in self.inputs])
        return pyramid

    def _fuse(self, new: Tensor, old: Tensor) -> Tensor:
        gate: Tensor = self.gate(new).sigmoid()  # [B, 1, H, W]
        return gate * new + (1 - gate) * old


class FeedbackResNet(nn.Module):
    """A ResNet of torchvision's or timm's layout that can be fed, giving levels 2..5.

    The stem and ``layer1`` … ``layer4`` are taken from ``net`` as they are, under their names, so
    its state dict fits apart from the classifier; their strides must be the usual ones. Feedback
    to a level is added to the shortcut of the first block of its stage: the same sum, before the
    block's last ReLU. It is a forward hook that stays for the one call, so one module cannot run
    in two threads at a time.

    ``feedback_channels`` are those of the levels 3..5, which the published net feeds. Raises
    ValueError where ``net`` has not that layout: the first blocks must project their shortcuts.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        parts = dict(net.named_children())
        activation = "relu" if "relu" in parts else "act1"
        names = (*STEM, activation, *STAGES)
        if missing := [name for name in names if name not in parts]:
            raise ValueError(
                f"{type(net).__name__} is not laid out like torchvision's or timm's ResNet: it has "
                f"no {', '.join(missing)}; write a module backbone(images, feedback) for it"
            )
        for name in names:
            self.add_module(name, parts[name])
        self.feature_info = getattr(net, "feature_info", None)  # timm's names of the stages
        self._stem = ("conv1", "bn1", activation, "maxpool")
        self.feedback_channels = {
            level: _shortcut_channels(parts[stage], stage)
            for level, stage in enumerate(STAGES, start=2)
            if level > 2
        }

    def forward(self, images: Tensor, feedback: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Give c2..c5 [B, C, H, W] by level; ``feedback`` has their shapes, for some of 3..5.

        Raises ValueError for feedback to another level.
        """
        if unknown := sorted(feedback.keys() - self.feedback_channels.keys()):
            raise ValueError(
                f"feedback must be for levels {', '.join(map(str, self.feedback_channels))}, "
                f"but got level {', '.join(map(str, unknown))}"
            )
        x = images
        for name in self._stem:
            x = self.get_submodule(name)(x)
        features = {}
        for level, stage in enumerate(STAGES, start=2):
            if level in feedback:
                shortcut = self.get_submodule(stage).get_submodule("0.downsample")
                handle = shortcut.register_forward_hook(_Add(feedback[level]))
                try:
                    x = self.get_submodule(stage)(x)
                finally:
                    handle.remove()
            else:
                x = self.get_submodule(stage)(x)
            features[level] = x
        return features


class _Add:
    """A forward hook that adds one tensor to what a module gives."""

    def __init__(self, feedback: Tensor) -> None:
        self.feedback = feedback

    def __call__(self, module: nn.Module, given: object, output: Tensor) -> Tensor:
        return output + self.feedback


def _shortcut_channels(stage: nn.Module, name: str) -> int:
    """Channels of the projected shortcut of a stage's first block."""
    shortcut = getattr(next(stage.children()), "downsample", None)
    parts = shortcut.modules() if isinstance(shortcut, nn.Module) else ()
    channels = [part.out_channels for part in parts if isinstance(part, nn.Conv2d)]
    if not channels:
        raise ValueError(
            f"{name}: its first block projects no shortcut (`downsample`) to add the feedback to; "
            "write a module backbone(images, feedback) for this net"
        )
    return channels[-1]


def _initialise(neck: RecursiveNeck, generator: torch.Generator | None) -> None:
    for part in neck.aspp.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(
                part.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    for still in (neck.gate, *neck.feed.modules()):
        if isinstance(still, nn.Conv2d):
            nn.init.zeros_(still.weight)
            assert still.bias is not None
            nn.init.zeros_(still.bias)
