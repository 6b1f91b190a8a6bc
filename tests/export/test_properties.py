"""What a training framework does with a module, done with every exported neck.

Mixed precision, channels last, distributed training, checkpointing, copies, states: each law is a
function that says what is wrong, held by a few necks in every check, by every shipped neck and some
sampled ones in the slow tests, and by 200 of these in ``make export-matrix``.
"""

import copy
import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from nas_fpn.export import neck_source
from nas_fpn.language import Architecture, decode, find_space, lower, read, read_neck, sample
from nas_fpn.language.words import WORDS
from nas_fpn.necks import Neck
from tests.export.architectures import BASELINES, SPACES, architectures, small
from tests.export.covering import WHOLE, words_of
from tests.export.test_folder import CHANNELS, features

FEW = ("nas_fpn", "bifpn", "panet", "every word", "every variant", "passes that differ")
SAMPLED = 200 if WHOLE else 28

# a group norm of one channel at one place gives zeros, or the sign of rounding errors: for laws up
# to rounding every level has several places
ROOMY = {2: (97, 68), 3: (49, 34), 4: (25, 17), 5: (13, 9), 6: (7, 5), 7: (4, 3)}

Law = Callable[[nn.Module, Neck, list[Tensor]], str | None]


@cache
def subjects() -> dict[str, Architecture]:
    """Every shipped neck by name, and sampled ones of every shipped space in turn."""
    rng = random.Random(29)
    found = {name: read_neck(find_space(f"baselines/{name}")) for name in BASELINES}
    spaces = {name: read(find_space(name)) for name in SPACES}
    for k in range(SAMPLED):
        name = SPACES[k % len(SPACES)]
        found[f"{name} {k}"] = decode(spaces[name], sample(spaces[name], rng))
    return {name: small(one) for name, one in found.items()}


def exported(architecture: Architecture) -> tuple[nn.Module, Neck, list[Tensor]]:
    """The module of the exported source, the neck that it comes from, and features for both."""
    neck = Neck(architecture, [CHANNELS[level] for level in lower(architecture).inputs], seed=1)
    there: dict[str, type[nn.Module]] = {}
    text = neck_source(architecture, neck.in_channels, provenance={})
    exec(compile(text, "neck.py", "exec"), there)
    module = there["Neck"]()
    module.load_state_dict(neck.state_dict())
    return module, neck, features(neck)


def faults(law: Law, necks: dict[str, Architecture]) -> dict[str, str]:
    found = {name: law(*exported(architecture)) for name, architecture in necks.items()}
    return {name: fault for name, fault in found.items() if fault is not None}


def loss(outputs: Sequence[Tensor]) -> Tensor:
    return torch.stack([output.float().square().mean() for output in outputs]).sum()


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    found = {name: one.grad for name, one in module.named_parameters()}
    module.zero_grad()
    return found


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def roomy(neck: Neck) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [
        torch.randn(2, CHANNELS[level], *ROOMY[level], generator=generator) for level in neck.inputs
    ]


def far(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest distance, relative to the largest value of the feature."""
    return max(
        ((a - b).abs().max() / b.abs().max().clamp(min=1e-6)).item()
        for a, b in zip(ours, theirs, strict=True)
    )


def carried(module: nn.Module, given: list[Tensor], dtype: torch.dtype) -> float:
    """How far rounding to ``dtype`` carries in this neck, by how far rounding to 32 bit does.

    Some sampled necks normalise what is constant: their numbers are rounding errors made large.
    """
    twin = copy.deepcopy(module).double()
    exact = twin([feature.double() for feature in given])
    larger = torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
    return far([one.double() for one in module(given)], exact) * larger


def equals_the_neck(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    """Bit for bit, in both modes, with gradients and statistics."""
    for mode in (False, True):
        ours, theirs = module.train(mode)(given), neck.train(mode)(given)
        if not same(ours, theirs):
            return f"other numbers, training={mode}"
    loss(ours).backward()
    loss(theirs).backward()
    expected = gradients(neck)
    for name, gradient in gradients(module).items():
        other = expected[name]
        if gradient is None or other is None or not torch.equal(gradient, other):
            return f"another gradient of {name}"
    states = module.state_dict().values(), neck.state_dict().values()
    return None if same(*map(list, states)) else "other statistics"


def runs_in_bfloat16(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    return _autocast(module, roomy(neck), torch.bfloat16, near=0.15)


def runs_in_float16(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    return _autocast(module, roomy(neck), torch.float16, near=0.03)


def _autocast(
    module: nn.Module, given: list[Tensor], dtype: torch.dtype, *, near: float
) -> str | None:
    """Forward, near to 32 bit, and backward with finite gradients."""
    with torch.inference_mode():
        near = max(near, 4 * carried(module.eval(), given, dtype))
        whole = module.eval()(given)
        with torch.autocast("cpu", dtype=dtype):
            half = module(given)
    distance = far([one.float() for one in half], whole)
    if not distance <= near:
        return f"{distance:.3f} away"
    with torch.autocast("cpu", dtype=dtype):
        outputs = module.train()(given)
    loss(outputs).backward()
    wrong = [n for n, one in gradients(module).items() if one is None or not one.isfinite().all()]
    return f"no finite gradient of {wrong[0]}" if wrong else None


def takes_channels_last(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    """The same numbers up to rounding, with weights and features that have channels last."""
    form, given = torch.channels_last, roomy(neck)
    with torch.inference_mode():
        near = max(1e-4, 100 * carried(module.eval(), given, torch.float32))
    expected = module(given)
    last = copy.deepcopy(module).to(memory_format=form)  # type: ignore[call-overload]
    outputs = last([feature.to(memory_format=form) for feature in given])
    distance = far(outputs, expected)
    loss(last.train()([feature.to(memory_format=form) for feature in given])).backward()
    return None if distance <= near else f"{distance:.1e} away"


def trains_distributed(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    """Two steps without a search for unused parameters; a second would name them."""
    wrapped = DistributedDataParallel(module.train(), find_unused_parameters=False)
    for _ in range(2):
        loss(wrapped(given)).backward()
    unused = [name for name, one in gradients(module).items() if one is None]
    return f"unused: {', '.join(unused)}" if unused else None


def is_checkpointed(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    """The same gradients, bit for bit, when the forward is made again for them."""
    loss(module.train()(given)).backward()
    expected = gradients(module)
    loss(checkpoint(module, given, use_reentrant=False)).backward()
    for name, gradient in gradients(module).items():
        other = expected[name]
        if gradient is None or other is None or not torch.equal(gradient, other):
            return f"another gradient of {name}"
    return None


def is_copied(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    """A deep copy gives the same, and shares nothing."""
    twin = copy.deepcopy(module.eval())
    expected = module(given)
    with torch.no_grad():
        for one in module.parameters():
            one.add_(1)
    return None if same(twin(given), expected) else "the copy gives other numbers"


def keeps_its_state(module: nn.Module, neck: Neck, given: list[Tensor]) -> str | None:
    """A state that is saved, and loaded without pickle's code, into a module drawn anew."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = type(module)()
    other.load_state_dict(torch.load(file, weights_only=True))
    return None if same(other.eval()(given), module.eval()(given)) else "other numbers"


LAWS: tuple[Law, ...] = (
    equals_the_neck,
    runs_in_bfloat16,
    runs_in_float16,
    takes_channels_last,
    trains_distributed,
    is_checkpointed,
    is_copied,
    keeps_its_state,
)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of this process alone."""
    store = dist.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_few_necks_hold_the_law(law: Law) -> None:
    necks = architectures()
    assert faults(law, {name: necks[name] for name in FEW}) == {}


def test_the_necks_that_hold_them_have_every_word() -> None:
    few = architectures()
    met = words_of([*subjects().values(), *(few[name] for name in FEW)])
    assert met == set(WORDS)
    assert {name.split()[0] for name in subjects() if " " in name} == set(SPACES)


@pytest.mark.slow
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_neck_holds_the_law(law: Law) -> None:
    assert faults(law, subjects()) == {}
