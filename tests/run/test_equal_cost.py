"""What a detector costs beside its backbone, and a baseline at the cost of another neck."""

import pytest
import torch

from nas_fpn.detect import DetectorSettings
from nas_fpn.language import Architecture, cost, find_neck, fit, read_neck, resize
from nas_fpn.proxy.latency import forward_ms
from nas_fpn.run.equal_cost import Frame, detector_costs, equal_cost

CHANNELS = {3: 16, 4: 24, 5: 32}
NECKS = {
    name: fit(read_neck(find_neck(name)), width=32, levels=(3, 4, 5)) for name in ("fpn", "panet")
}


def frame(kind: str = "fcos", image_size: int = 64) -> Frame:
    return Frame(DetectorSettings(kind=kind), CHANNELS, 3, image_size, torch.device("cpu"))


def test_the_head_is_counted_and_the_backbone_is_not() -> None:
    costs = detector_costs(NECKS, frame())
    for name, neck in NECKS.items():
        alone = cost(neck, CHANNELS, image_size=64)
        head = costs[name]["params_m"] * 1e6 - alone.params
        towers = 8 * (32 * 32 * 9 + 32 + 2 * 32)  # four convolutions each, with their norms
        last = (3 + 4 + 1) * (32 * 9 + 1)
        assert head == pytest.approx(towers + last)
        assert costs[name]["gmacs"] > alone.macs / 1e9
        assert costs[name]["latency_ms"] > 0
    assert costs["panet"]["gmacs"] - costs["fpn"]["gmacs"] == pytest.approx(
        (cost(NECKS["panet"], CHANNELS, image_size=64).macs
         - cost(NECKS["fpn"], CHANNELS, image_size=64).macs) / 1e9
    )  # fmt: skip


@pytest.mark.parametrize("by", ["params", "gmacs"])
def test_a_baseline_gets_the_width_at_which_it_costs_the_same(by: str) -> None:
    key = {"params": "params_m", "gmacs": "gmacs"}[by]
    target = detector_costs({"fpn": NECKS["fpn"]}, frame())["fpn"][key]
    resized = equal_cost(NECKS["panet"], NECKS["fpn"], frame(), by=by)

    def off(neck: Architecture) -> float:
        return abs(detector_costs({"neck": neck}, frame())["neck"][key] - target)

    widths = range(16, 65, 8)
    assert off(resized) == min(off(NECKS["panet"].with_width(width)) for width in widths)


def test_a_neck_at_its_own_cost_is_itself_and_none_changes_nothing() -> None:
    panet = NECKS["panet"]
    assert equal_cost(panet, panet, frame(), by="params") == panet
    assert equal_cost(panet, NECKS["fpn"], frame(), by="none") == panet


def test_a_latency_is_made_equal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resize, "MOST", 256)  # else wider ones are timed, for many seconds
    wide = NECKS["panet"].with_width(128)
    resized = equal_cost(NECKS["fpn"], wide, frame(), by="latency")
    assert resized.width >= 64, "four times the width is slower on any machine"


@pytest.mark.parametrize("kind", ["retinanet", "ssd", "faster_rcnn", "fast_rcnn"])
def test_every_kind_of_detector_has_a_cost(kind: str) -> None:
    costs = detector_costs({"fpn": NECKS["fpn"]}, frame(kind))["fpn"]
    assert min(costs.values()) > 0


def test_timed_modules_are_left_in_their_mode() -> None:
    one, other = torch.nn.BatchNorm2d(1).train(), torch.nn.Identity().eval()
    seen = []

    def forward() -> None:
        seen.append((one.training, torch.is_inference_mode_enabled()))

    times = forward_ms([(one, forward), (other, lambda: None)])
    assert len(times) == 2 and set(seen) == {(False, True)}
    assert (one.training, other.training) == (True, False)
