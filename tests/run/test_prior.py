"""Warm start: what ``prior`` names becomes genotypes of the run's space, or an error that mends."""

import json
import random
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import (
    Space,
    decode,
    encode,
    find_neck,
    find_space,
    fit,
    identity,
    parse,
    read,
    read_neck,
    sample,
)
from nas_fpn.record import Entry, Event, Outcome, ask_event, tell_event
from nas_fpn.run import read_run
from nas_fpn.run.prior import FROM_A_RUN, Prior, read_prior
from nas_fpn.run.question import frame_of


@pytest.fixture(scope="module")
def space() -> Space:
    return read(find_space("quick"))


def begin(folder: Path, prior: object) -> Path:
    folder.mkdir(parents=True)
    text = f'space = "quick"\n[controller_settings]\nprior = {json.dumps(prior)}\n'
    (folder / "run.toml").write_text(text)
    return folder


def found(folder: Path, space: Space) -> Prior:
    return read_prior(read_run(folder), space, frame_of(space))


def earlier(folder: Path, texts: list[str]) -> None:
    """A run's record whose later necks are better."""
    folder.mkdir()
    events: list[Event] = [{"event": "run", "version": 1, "settings": {"objective": "ap"}}]
    for number, text in enumerate(texts):
        events.append(ask_event(Entry(number, "controller", (), identity(parse(text)), text, {})))
        events.append(tell_event(number, Outcome("complete", {"ap": number / 100}, steps=10)))
    (folder / "history.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_hand_designed_necks_are_found_in_the_space(tmp_path: Path, space: Space) -> None:
    prior = found(begin(tmp_path / "run", ["fpn", "panet"]), space)
    assert prior.names == ("fpn", "panet")
    for name, genotype in zip(prior.names, prior.genotypes, strict=True):
        neck = read_neck(find_neck(name))
        frame = frame_of(space)
        fitted = fit(neck, width=frame.width, levels=frame.levels)
        assert identity(decode(space, genotype)) == identity(fitted)


def test_of_an_earlier_run_the_best_necks_of_this_space_come_best_first(
    tmp_path: Path, space: Space
) -> None:
    chance = random.Random(0)
    texts = [str(decode(space, sample(space, chance))) for _ in range(FROM_A_RUN + 4)]
    foreign = "width 24\np3..p5 = c3..c5 -> conv5 mish\n"
    earlier(tmp_path / "before", [*texts, foreign])
    prior = found(begin(tmp_path / "run", ["../before"]), space)
    best = [encode(space, parse(text)) for text in reversed(texts)]
    assert list(prior.genotypes) == list(dict.fromkeys(best[:FROM_A_RUN]))
    assert set(prior.names) == {"../before"}
    assert prior.notes == (f"prior ../before: the best 16 of {len(texts) + 1} complete necks",)


def test_a_neck_named_twice_is_asked_once(tmp_path: Path, space: Space) -> None:
    assert found(begin(tmp_path / "run", ["fpn", "fpn"]), space).names == ("fpn",)


def test_without_prior_there_is_none(tmp_path: Path, space: Space) -> None:
    assert found(begin(tmp_path / "run", []), space) == Prior()


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ("fpn", "should be a list of necks and runs"),
        (["fpnn"], "did you mean 'fpn'"),
        (["nas_fpn"], "is no member of the space"),
    ],
)
def test_what_cannot_be_a_prior_is_said(
    tmp_path: Path, space: Space, prior: object, said: str
) -> None:
    with pytest.raises(RunError, match=said) as fault:
        found(begin(tmp_path / "run", prior), space)
    assert "controller_settings.prior" in str(fault.value)


def test_a_run_of_another_space_is_refused(tmp_path: Path, space: Space) -> None:
    earlier(tmp_path / "before", ["width 24\np3..p5 = c3..c5 -> conv5 mish\n"])
    with pytest.raises(RunError, match="none of its 1 complete necks is a member"):
        found(begin(tmp_path / "run", ["../before"]), space)
