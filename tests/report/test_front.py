"""The front: what none dominates, against the definition, and drawn."""

import random
from xml.etree import ElementTree

import pytest

from nas_fpn.record import Entry, History, Outcome
from nas_fpn.report import answer_json, answer_text, draw_front, front


def trial(number: int, *, ap: float, cost: float, source: str = "controller") -> Entry:
    outcome = Outcome("complete", {"ap": ap, "latency_ms": cost}, steps=300)
    return Entry(number, source, None, f"{number:08x}", "", {}, outcome=outcome)


OBJECTIVES = ("ap", "-latency_ms")


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_dominates(seed: int) -> None:
    chance = random.Random(seed)
    trials = [
        trial(n, ap=chance.randrange(6) / 10, cost=float(chance.randrange(1, 7))) for n in range(25)
    ]

    def values(one: Entry) -> tuple[float, float]:
        assert one.outcome is not None
        return one.outcome.scores["ap"], -one.outcome.scores["latency_ms"]

    def dominated(one: Entry) -> bool:
        mine = values(one)
        return any(
            other is not one
            and values(other)[0] >= mine[0]
            and values(other)[1] >= mine[1]
            and (values(other) != mine or other.number < one.number)
            for other in trials
        )

    expected = {one.number for one in trials if not dominated(one)}
    found = front(trials, OBJECTIVES)
    assert {one.number for one in found} == expected
    assert [values(one)[0] for one in found] == sorted((values(o)[0] for o in found), reverse=True)


def test_only_complete_trials_with_every_objective_count() -> None:
    stopped = Entry(1, "controller", None, "b", "", {}, outcome=Outcome("stopped", {"ap": 0.9}))
    running = Entry(2, "controller", None, "c", "", {})
    without = Entry(3, "controller", None, "d", "", {}, outcome=Outcome("complete", {"ap": 0.9}))
    first = trial(0, ap=0.1, cost=9.0)
    assert front([first, stopped, running, without], OBJECTIVES) == (first,)
    assert front([], OBJECTIVES) == ()


def test_one_objective_gives_the_best() -> None:
    trials = [trial(0, ap=0.1, cost=1.0), trial(1, ap=0.3, cost=2.0), trial(2, ap=0.3, cost=1.0)]
    assert [one.number for one in front(trials, ("ap",))] == [1]


def test_the_picture_names_the_front_and_the_baselines_and_nothing_can_be_injected() -> None:
    trials = [
        trial(0, ap=0.30, cost=8.0, source="baseline:<script>"),
        trial(1, ap=0.35, cost=9.0),
        trial(2, ap=0.20, cost=9.5),
        trial(3, ap=0.10, cost=2.0),
    ]
    picture = draw_front(trials, OBJECTIVES)
    root = ElementTree.fromstring(picture)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<script>" in texts and "<script>" not in picture
    assert "00000001" in texts and "00000003" in texts and "00000002" not in texts


def test_a_single_neck_can_be_drawn() -> None:
    ElementTree.fromstring(draw_front([trial(0, ap=0.0, cost=0.0)], OBJECTIVES))


def test_the_table_marks_the_front_and_says_it() -> None:
    trials = (
        trial(0, ap=0.30, cost=8.0, source="baseline:fpn"),
        trial(1, ap=0.35, cost=9.0),
        trial(2, ap=0.20, cost=9.5),
    )
    asked = {"event": "run", "settings": {"objective": list(OBJECTIVES)}}
    history = History(events=(asked,), entries=trials)
    text = answer_text(history)
    assert "The front of ap and -latency_ms has 2 necks:" in text
    assert (
        "  00000001 (trial 1): ap 0.35, latency_ms 9\n  fpn (trial 0): ap 0.3, latency_ms 8" in text
    )
    head, *rows = text.splitlines()
    assert "front" in head and "latency_ms" in head
    assert ["*" in row for row in rows[:3]] == [True, True, False]
    assert answer_json(history)["front"] == [1, 0]
