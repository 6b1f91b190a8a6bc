"""Runs side by side: a row each, what does not compare is said, files hold all trials."""

from nas_fpn.record import Entry, Event, History, Outcome
from nas_fpn.report import Opened, Selection, side_by_side, side_by_side_json, stacked
from nas_fpn.report.compare import ONE_SEED, compare_section, compared_said


def opened(
    name: str, best: float, *, bank: str = "b", score: str = "ap", **proxy: object
) -> Opened:
    first: Event = {
        "event": "run",
        "version": 1,
        "seed": 3,
        "bank": bank,
        "settings": {"controller": name, "space": "quick", "budget": {"trials": 9}, "proxy": proxy},
    }
    told = (Outcome("complete", {"ap": ap, score: ap}, 300, 1800.0) for ap in (0.25, best))
    sources = ("baseline:fpn", "controller")
    entries = tuple(
        Entry(k, source, None, f"{k:08x}", "", {"params": 7}, outcome=outcome)
        for k, (source, outcome) in enumerate(zip(sources, told, strict=True))
    )
    told_here: list[Event] = [{"event": "tell", "trial": entry.number} for entry in entries]
    return Opened(name, History((first, *told_here), entries))


def test_each_run_has_a_row() -> None:
    text = side_by_side({"one": opened("ppo", 0.5), "two": opened("evolution", 0.375)})
    head, one, two, *said = text.splitlines()
    assert head.split()[:5] == ["run", "controller", "space", "seed", "trained"]
    assert one.split() == [
        *("one", "ppo", "quick", "3", "1/9", "0", "ap", "0.5000", "00000001", "0.2500", "fpn"),
        *("+0.2500", "–", "1.00"),
    ]
    assert two.split()[:2] == ["two", "evolution"]
    assert said[1] == compared_said("one", [])
    assert " ".join(said[2:]) == ONE_SEED, "word for word as the page has it"


def test_other_features_do_not_compare() -> None:
    runs = {"one": opened("one", 0.5), "two": opened("two", 0.4, bank="c")}
    said = side_by_side(runs).replace("\n", " ")
    assert compared_said("one", ["two"]) in said
    assert compared_said("one", ["two"]) in str(compare_section(tuple(runs.values())))
    assert side_by_side_json(runs, Selection())["compare"] is False


def test_other_settings_of_the_proxy_do_not_compare_but_for_those_of_last_digits() -> None:
    runs = {"one": opened("ppo", 0.5, steps=300), "two": opened("ppo", 0.4, steps=200)}
    assert side_by_side_json(runs, Selection())["compare"] is False
    runs["two"] = opened("ppo", 0.4, steps=300, threads=2, graphs=True)
    assert side_by_side_json(runs, Selection())["compare"] is True


def test_a_run_without_trials_has_a_row() -> None:
    empty = Opened("none", History(({"event": "run", "version": 1},)))
    row = side_by_side({"one": opened("ppo", 0.5), "none": empty}).splitlines()[2].split()
    assert row[:2] == ["none", "–"]


def test_json_holds_every_run_whole() -> None:
    runs = {"one": opened("ppo", 0.5), "two": opened("ppo", 0.4)}
    answer = side_by_side_json(runs, Selection(sources=("controller",)))
    assert answer["compare"] is True
    assert [run["run"] for run in answer["runs"]] == ["one", "two"]
    assert [[trial["ap"] for trial in run["trials"]] for run in answer["runs"]] == [[0.5], [0.4]]
    assert "best of 1 neck" in answer["runs"][0]["verdict"]


def test_tables_are_stacked_with_the_columns_of_all() -> None:
    runs = {"one": opened("ppo", 0.5), "two": opened("ppo", 0.4, score="ap/fish")}
    table = stacked(runs, Selection())
    assert list(table["run"]) == ["one", "one", "two", "two"]
    assert list(table["trial"]) == [0, 1, 0, 1]
    assert list(table["ap/fish"].isna()) == [True, True, False, False]
    assert str(table["ap"].dtype) == "Float64"
    assert list(table.columns[:3]) == ["run", "trial", "source"]
