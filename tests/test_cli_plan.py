"""The verb plan: what it prints for a program, also where nothing had to be measured."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.cli import main
from nas_fpn.proxy.timing import Timing
from nas_fpn.run import Outlook, Step
from nas_fpn.run.packed import Packed
from nas_fpn.run.plan import Measured, Wishes, plan_time

TIMING = Timing(step_s=0.01, evaluation_s=0.1, setup_s=0.1)
PLAN = plan_time(
    Wishes(seconds=600.0, spent=9.0, steps=(100,), evaluations=1, workers=2),
    Measured(usual=TIMING, dear=TIMING),
)
TRIED = [{"workers": 2, "threads": 3, "steps_per_second": 9.5, "gpus": 0}]


def planned(packed: Packed, *, bounded: bool) -> Any:
    def plan_run(*_: object, **__: object) -> Generator[Step, None, Outlook]:
        yield Step("timing a few trainings", 1, 1)
        return Outlook(PLAN, bounded, None, packed, threads=3)

    return plan_run


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize(
    "packed",
    [
        Packed(workers=2, line={"event": "packing", "threads": 3, "measured": TRIED}),
        Packed(workers=2, text="2 trials at a time, as on record"),
    ],
    ids=["measured", "on record"],
)
def test_json_says_the_threads_of_a_trial_wherever_they_are_from(
    packed: Packed,
    bounded: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "run.toml").write_text("[ray]\nworkers = 0\n")
    monkeypatch.setattr("nas_fpn.run.plan_run", planned(packed, bounded=bounded))
    with pytest.raises(SystemExit, match="0"):
        main(["plan", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["workers"], told["threads"]) == (2, 3)
    assert told["minutes"] == (10.0 if bounded else None)
    assert told.get("measured") == (TRIED if packed.line else None)
