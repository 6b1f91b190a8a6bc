"""The cells of a pyramid are made once for each size."""

import torch
from torch import Tensor

from nas_fpn.detect.boxes import KeptCells

CPU = torch.device("cpu")


def test_cells_are_made_when_the_size_is_another_and_may_always_be_learnt_with() -> None:
    made = []

    def make(sizes: list[tuple[int, int]], /, *, device: torch.device) -> Tensor:
        made.append(sizes)
        return torch.ones(sizes[0], device=device)

    kept = KeptCells(make)
    with torch.inference_mode():
        first = kept([(2, 3)], CPU)
    assert kept([(2, 3)], CPU) is first
    assert not first.is_inference()
    assert kept([(4, 3)], CPU).shape == (4, 3)
    assert made == [[(2, 3)], [(4, 3)]]
