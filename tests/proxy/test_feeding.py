"""What a step is given is what the bank holds, and what would be assigned anew."""

import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nas_fpn.detect.boxes import make_grid
from nas_fpn.detect.cell_anchors import make_anchors, match_anchors
from nas_fpn.detect.targets import assign_points, size_ranges, without_padding
from nas_fpn.proxy import feeding
from nas_fpn.proxy.bank import Split
from nas_fpn.proxy.feeding import TABLES, Feed, Memory, let_go, memory_of, placed

SIZE, LEVELS = 64, (3, 4)
SIDES, STRIDES = ((8, 8), (4, 4)), (8, 16)
RANGES = size_ranges(LEVELS, SIZE)
CPU = torch.device("cpu")


def make_split(rows: int = 12, *, most: int = 5, dtype: torch.dtype = torch.float32) -> Split:
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(rows, most, 2, generator=g) * 40
    boxes = torch.cat((corner, corner + 4 + torch.rand(rows, most, 2, generator=g) * 30), dim=2)
    there = torch.arange(most) < torch.randint(0, most, (rows, 1), generator=g)
    return Split(
        features={
            level: torch.randn(rows, 3, *sides, generator=g).to(dtype)
            for level, sides in zip(LEVELS, SIDES, strict=True)
        },
        boxes=boxes * there[..., None],
        labels=torch.randint(3, (rows, most), generator=g).masked_fill(~there, -1),
        image_ids=torch.arange(rows),
        scales=torch.ones(rows),
    )


class Assigner:
    """The rule of FCOS, and the rows it was asked for."""

    def __init__(self, split: Split) -> None:
        self.split, self.asked = split, 0

    def __call__(self, grid: object, boxes: Tensor, labels: Tensor) -> Tensor:
        self.asked += len(boxes)
        return assign_points(grid, boxes, labels, ranges=RANGES)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_are_the_rows_of_the_bank_channels_last(dtype: torch.dtype) -> None:
    split = make_split(dtype=dtype)
    feed = Feed(split, LEVELS, CPU)
    for rows in (torch.tensor([3, 0, 3]), torch.tensor([7, 11, 1]), torch.tensor([2])):
        for level, feature in feed(rows).items():
            assert torch.equal(feature, split.features[level][rows].float())
            assert feature.is_contiguous(memory_format=torch.channels_last)


def test_a_neck_that_reads_one_level_is_given_one() -> None:
    assert set(Feed(make_split(), (4,), CPU)(torch.tensor([0]))) == {4}


def test_what_is_remembered_is_what_would_be_assigned() -> None:
    split = make_split()
    grid, memory, assigner = make_grid(SIDES, STRIDES), Memory(split), Assigner(split)
    for rows in (torch.tensor([3, 0, 3]), torch.tensor([0, 3, 5]), torch.tensor([5, 0, 3])):
        index = memory.index(rows, grid, rule=("points",), assign=assigner)
        assert torch.equal(index, assigner(grid, split.boxes[rows], split.labels[rows]))
    assert assigner.asked == 3 + 9  # each of three rows once, beside what is asked here


def test_anchors_are_remembered_beside_points() -> None:
    split = make_split()
    memory, rows = Memory(split), torch.tensor([1, 2, 4])
    anchors = make_anchors(SIDES, STRIDES, image_size=SIZE)
    points = make_grid(SIDES, STRIDES)
    for _ in range(2):
        index = memory.index(rows, anchors, rule=("anchors",), assign=match_anchors)
        assert torch.equal(index, match_anchors(anchors, split.boxes[rows], split.labels[rows]))
        other = memory.index(rows, points, rule=("points",), assign=Assigner(split))
        assert other.shape != index.shape


def test_other_ranges_are_another_memory() -> None:
    split = make_split()
    memory, rows, grid = Memory(split), torch.arange(12), make_grid(SIDES, STRIDES)
    for reach in (20.0, 40.0):
        ranges = ((0.0, reach), (reach, 1e9))

        def assign(
            grid: object,
            boxes: Tensor,
            labels: Tensor,
            ranges: tuple[tuple[float, float], ...] = ranges,
        ) -> Tensor:
            return assign_points(grid, boxes, labels, ranges=ranges)  # type: ignore[arg-type]

        index = memory.index(rows, grid, rule=(ranges,), assign=assign)
        assert torch.equal(index, assign(grid, split.boxes, split.labels))


def test_so_many_pyramids_are_remembered_at_a_time() -> None:
    split = make_split()
    memory, grid, assigner = Memory(split), make_grid(SIDES, STRIDES), Assigner(split)
    for number in (*range(TABLES + 1), TABLES, 0):
        memory.index(torch.tensor([1]), grid, rule=(number,), assign=assigner)
    assert assigner.asked == TABLES + 2


def test_more_boxes_than_a_byte_counts() -> None:
    split = make_split(rows=3, most=200)
    grid, rows = make_grid(SIDES, STRIDES), torch.arange(3)
    index = Memory(split).index(rows, grid, rule=(), assign=Assigner(split))
    assert index.max() > 127
    assert torch.equal(index, assign_points(grid, split.boxes, split.labels, ranges=RANGES))


def test_rows_without_boxes_are_cut_off_and_change_nothing() -> None:
    split = make_split(most=9)
    boxes, labels = without_padding(split.boxes, split.labels)
    assert labels.shape[1] == int((split.labels >= 0).sum(1).max()) < 9
    grid = make_grid(SIDES, STRIDES)
    assert torch.equal(
        assign_points(grid, boxes, labels, ranges=RANGES),
        assign_points(grid, split.boxes, split.labels, ranges=RANGES),
    )
    empty = without_padding(split.boxes, torch.full_like(split.labels, -1))
    assert [part.shape[1] for part in empty] == [1, 1]


def test_a_process_has_one_memory_of_a_split() -> None:
    split, other = make_split(), make_split()
    assert memory_of(split) is memory_of(split) is not memory_of(other)
    assert placed(split, CPU) is split


def test_points_may_lie_elsewhere_than_the_split() -> None:
    """As those of a device that has no room for the split."""
    split, rows = make_split(), torch.tensor([3, 0, 7])
    table = Memory(split).table((64, 16), rule=())
    answers = assign_points(
        make_grid(SIDES, STRIDES),
        split.boxes[torch.tensor([0, 3, 7])],
        split.labels[torch.tensor([0, 3, 7])],
        ranges=RANGES,
    )

    def assign(boxes: Tensor, labels: Tensor) -> Tensor:
        assert boxes.is_meta
        assert labels.is_meta
        return answers

    index = table.index(rows, assign, device=torch.device("meta"))
    assert torch.equal(index, answers[torch.tensor([1, 0, 2])])


def test_many_boxes_and_points_are_assigned_a_few_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split, grid, rows = make_split(), make_grid(SIDES, STRIDES), torch.arange(12)
    whole = assign_points(grid, split.boxes, split.labels, ranges=RANGES)
    for pairs, most in ((5 * 80 * 3, 3), (1, 1)):
        monkeypatch.setattr(feeding, "PAIRS", pairs)
        seen: list[int] = []

        def assign(grid: object, boxes: Tensor, labels: Tensor, seen: list[int] = seen) -> Tensor:
            seen.append(len(boxes))
            return assign_points(grid, boxes, labels, ranges=RANGES)  # type: ignore[arg-type]

        assert torch.equal(Memory(split).index(rows, grid, rule=(), assign=assign), whole)
        assert max(seen) == most


class Crowded(Tensor):
    """Features for which the device has no memory, whatever it said before."""

    def to(self, *given: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.fixture
def nothing_placed() -> Iterator[None]:
    placed.cache_clear()
    yield
    placed.cache_clear()


@pytest.mark.usefixtures("nothing_placed")
@pytest.mark.parametrize("free", [0, 10**12])  # the second: others took it in between
def test_a_split_without_room_stays_where_it_is(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    split = make_split()
    split = replace(split, features={k: f.as_subclass(Crowded) for k, f in split.features.items()})
    with pytest.warns(RuntimeWarning, match="of features stay in the host's memory"):
        assert placed(split, torch.device("cuda")) is split
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert placed(split, torch.device("cuda")) is split


@pytest.mark.usefixtures("nothing_placed")
def test_what_was_placed_is_let_go_where_there_is_a_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split = make_split()
    kept = memory_of(split)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    let_go()
    assert memory_of(split) is kept  # a CPU has what it had
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    let_go()
    assert emptied
    assert memory_of(split) is not kept
