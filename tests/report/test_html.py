"""The report as text: well formed, self-contained, inert whatever the record says, small."""

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import History, Outcome
from nas_fpn.report import Opened, open_run, report_html
from nas_fpn.report.opened import Exported
from tests.report.synthetic import write_run

VOID = {"meta", "input", "img", "br"}
BAD = "</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Elements with their attributes, text by element, and a stack that has to come out even."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.stack and self.stack[-1] == "script" else self.text).append(data)

    @property
    def data(self) -> dict[str, Any]:
        """What the page carries for its script."""
        (value,) = [text for text in self.scripts if text.startswith("{")]
        decoded: dict[str, Any] = json.loads(value)
        return decoded


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_run(write_run(tmp_path_factory.mktemp("runs") / "twenty", 20))


@pytest.fixture(scope="module")
def text(run: Opened) -> str:
    return report_html([run])


def test_every_element_ends_and_every_id_is_one(text: str) -> None:
    page = Page(text)
    names = [name for _, attributes in page.elements if (name := attributes.get("id"))]
    assert len(names) == len(set(names))
    targets = {"#" + name for name in names} | {"#" + one["key"] for one in page.data["trials"]}
    links = [one["href"] for tag, one in page.elements if tag == "a"]
    assert set(links) - {"#"} <= targets


def test_nothing_is_fetched_and_one_script_may_run(text: str) -> None:
    page = Page(text)
    sources = [one["src"] or "" for _, one in page.elements if "src" in one]
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r'(href|src)="(https?:)?//', text)
    assert "url(" not in text.replace(page.scripts[0], "")
    (policy,) = [
        one["content"] or ""
        for _, one in page.elements
        if one.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not [key for _, one in page.elements for key in one if key.startswith("on")]


def test_every_picture_says_what_it_shows(text: str) -> None:
    for tag, attributes in Page(text).elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in {"col", "row"}


def test_the_data_are_the_record(run: Opened, text: str) -> None:
    data = Page(text).data
    assert [one["trial"] for one in data["trials"]] == [e.number for e in run.history.entries]
    for row, entry in zip(data["trials"], run.history.entries, strict=True):
        assert data["texts"][row["text"]] == entry.text
        assert len(row["choices"]) == (0 if entry.genotype is None else len(entry.genotype))
        assert len(row["reports"]) == len(entry.reports)
        if entry.outcome is not None and entry.outcome.scores:
            at = data["scores"].index("ap")
            assert row["scores"][at] == pytest.approx(entry.outcome.scores["ap"], rel=1e-5)
    drawings = json.loads(gzip.decompress(base64.b64decode(data["drawings"])))
    assert len(drawings) == len(data["texts"])
    assert all(drawing.startswith("<svg") for drawing in drawings)
    assert {one["state"] for one in data["trials"]} >= {"running", "paused", "failed", "stopped"}


def test_the_best_neck_and_the_best_baseline_share_a_drawing(text: str) -> None:
    pictures = [one for tag, one in Page(text).elements if tag == "img"]
    (alt,) = [alt for one in pictures if "in one drawing" in (alt := one["alt"] or "")]
    assert alt == "panet and 0b078376 in one drawing; the lines below say the same"


def test_a_run_that_is_under_way_says_so(text: str) -> None:
    assert "Not finished: 18 of 20 trials have ended, beside 4 baselines; 2 under way" in text


def test_a_repeat_costs_nothing_of_the_budget(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "mine", 20))
    known = next(e for e in run.history.entries if not e.is_baseline and e.outcome is not None)
    outcome = Outcome("repeated", {"ap": 0.2}, steps=300, of=known.number)
    again = replace(known, number=len(run.history.entries), outcome=outcome)
    history = replace(run.history, entries=(*run.history.entries, again))
    said = "18 of 20 trials have ended, beside 1 answered without training and 4 baselines"
    assert said in report_html([replace(run, history=history)])


@pytest.mark.parametrize("wanted", [10, 30])
def test_when_the_time_is_over_nothing_is_left_to_do(wanted: int, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "mine", 20))
    over = ({"event": "over", "minutes": 6.0}, {"event": "budget", "trials": wanted})
    late = replace(run, history=replace(run.history, events=(*run.history.events, *over)))
    said = report_html([late])
    assert f"18 trials have ended, {wanted} were planned, beside 4 baselines" in said
    assert "Not finished" not in said


def test_what_is_not_known_is_said(text: str) -> None:
    assert "between evaluations of one training" in text
    assert "Noise: unknown." in report_html([Opened("nothing", History())])
    assert "whether the proxy ranks necks as a full training would is not known" in text
    assert "What random search would have found was not run." in text


def test_equal_records_give_equal_pages(run: Opened, text: str) -> None:
    assert report_html([run]) == text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "<script>alert(1)<!--", 12, controller=BAD, notes=[BAD])
    path = folder / "history.jsonl"
    record = path.read_text().replace("ap/disc", f"ap/{BAD}").replace("baseline:panet", BAD)
    path.write_text(record.replace("RuntimeError: no memory", BAD))
    page = Page(report_html([open_run(folder)]))
    assert len(page.scripts) == 2
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert page.data["runs"][0]["name"] == "<script>alert(1)<!--"
    assert f"ap/{BAD}" in page.data["scores"]
    assert any(BAD in one for one in page.text)


def test_several_runs_compare_and_random_search_is_named(run: Opened, tmp_path: Path) -> None:
    other = open_run(write_run(tmp_path / "dice", 12, seed=3, controller="random_search"))
    text = report_html([run, other])
    page = Page(text)
    assert "All were trained on the same features" in text
    assert "random search: dice" in text
    assert "in random order" not in text
    assert "The controller of this run is random search itself." in text
    assert {one["run"] for one in page.data["trials"]} == {0, 1}
    assert 'href="#run-2-trial-0"' in text


def test_runs_of_another_question_do_not_compare(run: Opened, tmp_path: Path) -> None:
    other = open_run(write_run(tmp_path / "far", 12, proxy={"steps": 900}))
    text = report_html([run, other])
    assert "far: trained on other features, with other proxy settings" in text


def test_several_objectives_show_the_front(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "two", 12, objective=["ap", "-latency_ms"])
    text = report_html([open_run(folder)])
    assert 'id="front"' in text
    assert "that no other on record equals or beats in all of ap, -latency_ms" in text


def test_a_changed_space_gives_choices_numbers(run: Opened) -> None:
    bare = replace(run, space=None, missing=("the space quick has changed",))
    text = report_html([bare])
    assert "choice 0 = option" in text
    assert "Missing: the space quick has changed." in text


def test_an_empty_record_is_a_page_too() -> None:
    text = report_html([Opened("nothing", History())])
    assert Page(text).data["trials"] == []
    assert "No trial is complete yet." in text


def test_the_check_on_test_leads_the_verdict(run: Opened) -> None:
    scores = {"trial": [0.2, 0.21, 0.22], "control": [0.1, 0.11, 0.12]}
    best = next(e for e in run.history.entries if e.outcome and not e.is_baseline)
    event = {"event": "verdict", "split": "test", "objective": "ap", "trial": best.number}
    event |= {"control": 1, "seeds": [1, 2, 3], "scores": scores}
    history = replace(run.history, events=(*run.history.events, event))
    text = report_html([replace(run, history=history)])
    assert "is better." in text
    assert "with 3 new seeds has mean 0.2100 and standard deviation 0.0100" in text
    assert text.index("Check on test") < text.index("Verdict so far")


def test_only_the_source_of_this_very_trial_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 6)
    entry = open_run(folder).history.entries[4]
    (folder / "best").mkdir()
    (folder / "best" / "neck.py").write_text("# the source\n")
    mark = folder / "best" / "trial.json"
    mark.write_text(json.dumps({"trial": entry.number, "neck": "another"}))
    assert open_run(folder).exports == {}
    mark.write_text(json.dumps({"trial": entry.number, "neck": entry.neck}))
    assert open_run(folder).exports == {entry.number: Exported("# the source\n", None)}


def test_a_folder_without_a_record_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run: it has neither"):
        open_run(tmp_path)
    (tmp_path / "run.toml").touch()
    with pytest.raises(RunError, match="has not begun\nbegin it with: nas-fpn search"):
        open_run(tmp_path)


@pytest.mark.slow
def test_a_thousand_trials_can_be_mailed(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "many", 1000))
    assert len(report_html([run]).encode()) < 8e6


def test_the_script_is_small() -> None:
    path = Path(__file__).parents[2] / "nas_fpn" / "report" / "assets" / "report.js"
    assert path.stat().st_size < 30_000
