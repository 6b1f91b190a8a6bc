"""What is decided of a search before its first trial."""

import pytest
import torch

from nas_fpn.run import RunSettings
from nas_fpn.run.ready import repeats


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "here", "expected"),
    [
        ("cpu", 2, 0.5, False, True),
        ("auto", 2, 0.0, False, True),
        ("auto", 2, 0.5, False, False),
        ("cuda", 2, 1.0, False, False),
        ("auto", 2, 0.5, True, False),
        ("auto", 0, 0.0, False, False),
        ("cpu", 0, 0.0, True, True),
    ],
)
def test_trainings_repeat_where_they_are_the_cpus(
    device: str,
    workers: int,
    gpus: float,
    here: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ray = {"workers": workers, "gpus_per_trial": gpus}
    settings = RunSettings.model_validate({"ray": ray, "proxy": {"device": device}})
    assert repeats(settings, here=here) is expected
