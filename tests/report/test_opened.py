"""What a report takes from a run's folder beside the record: only what the record was made with."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from nas_fpn.report import open_run, report_html
from tests.report.synthetic import write_run

WORDS = '''\
"""One own word."""

from nas_fpn.language import Row



def mine(feature):
    return feature


words = {"mine": Row("block", operation=mine)}
'''


def rewrite(folder: Path, **header: object) -> None:
    """Change facts in the first line of a record."""
    path = folder / "history.jsonl"
    first, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps(json.loads(first) | header) + "\n" + rest)


def test_the_space_gives_choices_their_names(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 4))
    assert run.space is not None
    assert run.missing == ()


def test_a_space_that_has_changed_is_not_taken(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 4)
    rewrite(folder, space="0" * 64)
    run = open_run(folder)
    assert run.space is None
    (said,) = run.missing
    assert said == "the space quick has changed since the run began: choices have no names"


def test_a_space_that_is_gone_is_said(tmp_path: Path) -> None:
    (said,) = open_run(write_run(tmp_path / "run", 4, space="my.space")).missing
    assert said == "the space my.space is not there any more: choices have no names"


@pytest.mark.parametrize("changed", [False, True])
def test_trusted_own_words_run_only_if_they_are_those_on_record(
    tmp_path: Path, *, changed: bool
) -> None:
    folder = write_run(tmp_path / "run", 4)
    ran = tmp_path / "ran"
    text = WORDS + f"\nfrom pathlib import Path\nPath({str(ran)!r}).touch()\n"
    (folder / "mine.py").write_text(text)
    digest = sha256((text + "# other" if changed else text).encode()).hexdigest()
    rewrite(folder, words={"mine.py": digest})
    run = open_run(folder, trust=True)
    assert ran.exists() is not changed
    assert ("mine" in run.words.rows) is not changed
    assert (run.space is None) is changed
    assert [said for said in run.missing if "mine.py is not the file" in said] == list(run.missing)


def test_a_neck_whose_words_are_not_at_hand_keeps_its_program(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 4)
    path = folder / "history.jsonl"
    path.write_text(path.read_text().replace("-> conv1", "-> mine"))
    text = report_html([open_run(folder)])
    assert "It cannot be drawn: its own words are not at hand." in text
    assert "x3 = c3 -&gt; mine" in text


def test_a_budget_given_later_and_a_drift_count(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 4)
    header = {"settings": {"objective": ["ap50", "-params_m"], "budget": {"trials": 4}}}
    with (folder / "history.jsonl").open("a") as file:
        file.write(json.dumps({"event": "budget", "trials": 9}) + "\n")
        file.write(json.dumps({"event": "drift", "header": header, "differences": []}) + "\n")
    run = open_run(folder)
    assert run.trials_wanted == 9
    assert run.objectives == ("ap50", "-params_m")
