"""What narrows the choice of a plan: a calibration of this very proxy, and no other."""

import json
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run import Run, read_run
from nas_fpn.run.plan_measure import calibrated_steps


def calibration(run: Run, taus: dict[int, float | None], **changes: Any) -> dict[str, Any]:
    settings = run.settings.model_dump(mode="json")
    proxy = settings["proxy"]
    alike = {"image_size": proxy["image_size"], "views": proxy["views"], "width": 1.0}
    return {
        "event": "calibrated",
        "asked": 0.7,
        **{name: settings[name] for name in ("data", "backbone", "proxy")},
        "fidelities": [{**alike, "steps": k, "tau": {"tau": tau}} for k, tau in taus.items()],
        **changes,
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run.toml").write_text("")
    return read_run(tmp_path)


def steps_with(run: Run, found: dict[str, Any]) -> tuple[int, ...]:
    (run.folder / "calibration.json").write_text(json.dumps(found))
    return calibrated_steps(run)[0]


def test_without_a_calibration_a_third_of_the_steps_is_the_least(run: Run) -> None:
    assert calibrated_steps(run) == ((300, 200, 150, 100), None, None)


@pytest.mark.parametrize(
    ("taus", "steps", "least"),
    [
        ({300: 0.9, 99: 0.8}, (300, 200, 150, 100, 99), 99),
        ({300: 0.9, 150: 0.71, 99: 0.5}, (300, 200, 150), 150),
        ({300: 0.9, 99: None}, (300,), 300),
        ({300: 0.5, 99: 0.4}, (300,), None),
        ({600: 0.9, 300: 0.5}, (300,), 600),
    ],
)
def test_fewer_steps_than_rank_as_is_asked_are_not_planned(
    run: Run, taus: dict[int, float | None], steps: tuple[int, ...], least: int | None
) -> None:
    assert steps_with(run, calibration(run, taus)) == steps
    _, ranked, said = calibrated_steps(run)
    assert said, "and it is said"
    assert ranked == least, "where rungs may stand"


@pytest.mark.parametrize("part", ["data", "backbone", "proxy"])
def test_a_calibration_of_something_else_narrows_nothing(run: Run, part: str) -> None:
    found = calibration(run, {300: 0.9})
    other = {**found, part: {**found[part], "image_size": 96}}
    assert steps_with(run, other) == (300, 200, 150, 100)


def test_a_reference_that_was_too_short_narrows_nothing(run: Run) -> None:
    found = calibration(run, {300: 0.5, 99: 0.9}, is_short=True)
    assert steps_with(run, found) == (300, 200, 150, 100)
    _, ranked, said = calibrated_steps(run)
    assert ranked is None
    assert said is not None
    assert "had learnt less than the proxy" in said
    assert steps_with(run, {**found, "is_short": False}) == (300, 200, 150, 100, 99)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"asked": 0.7}'])
def test_a_file_that_is_no_calibration_is_a_message(run: Run, text: str) -> None:
    (run.folder / "calibration.json").write_text(text)
    with pytest.raises(RunError, match="no calibration that can be read"):
        calibrated_steps(run)
