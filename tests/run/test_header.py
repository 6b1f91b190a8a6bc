"""The first line of a record, and what of it is held against the record before all else."""

import json
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run import read_run, search_run
from nas_fpn.run.header import known_header, make_header
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import Run
from tests.proxy.replayed import make_bank
from tests.search.fakes import with_loop

TEXT = 'space = "quick"\nseed = 3\n[proxy]\nsteps = 50\n[ray]\nworkers = 2\n'


def written(folder: Path, text: str) -> Run:
    (folder / "run.toml").write_text(text)
    return read_run(folder)


def begun(folder: Path, text: str = TEXT) -> Run:
    """A run whose record has its first line."""
    run = written(folder, text)
    header = make_header(run, read_question(run), bank=make_bank(), notes=("split",), trials=5)
    with_loop(folder / "history.jsonl", lambda loop: None, header=header)
    return run


def within(part: object, whole: object) -> bool:
    if not isinstance(part, dict) or not isinstance(whole, dict):
        return part == whole
    return all(key in whole and within(value, whole[key]) for key, value in part.items())


def test_what_is_known_first_is_part_of_the_header(tmp_path: Path) -> None:
    run = begun(tmp_path)
    known = known_header(run, read_question(run))
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()[:1]
    assert within(json.loads(json.dumps(known)), json.loads(line))
    assert {"threads", "steps"}.isdisjoint(known["settings"]["proxy"])
    assert known["settings"]["proxy"]["batch_size"] == run.settings.proxy.batch_size


@pytest.mark.parametrize(
    ("old", "new", "row"),
    [
        ("seed = 3", "seed = 4", "seed was 3 and is now 4"),
        ("steps = 50", "steps = 50\nviews = 4", "settings.proxy.views was 3 and is now 4"),
        ("[proxy]", "[limits]\ngmacs = 1.0\n[proxy]", "limits.gmacs was null and is now 1.0"),
    ],
)
def test_another_question_is_refused_before_anything_is_made(
    tmp_path: Path, old: str, new: str, row: str
) -> None:
    begun(tmp_path)
    changed = written(tmp_path, TEXT.replace(old, new))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(RunError) as caught:
        next(search_run(changed))
    said = str(caught.value).splitlines()
    assert said[0] == f"{tmp_path / 'history.jsonl'}:1: this run was begun as another"
    assert row in said[1]
    assert said[-1] == "put it back, start a run in another folder, or go on with --accept-drift"
    assert set(before) <= {path.name for path in tmp_path.iterdir()} <= {*before, "history.lock"}


def test_another_space_is_refused_with_the_copy_of_the_old_one(tmp_path: Path) -> None:
    run = begun(tmp_path)
    (tmp_path / "code").mkdir()
    digest = known_header(run, read_question(run))["space"]
    copy = tmp_path / "code" / f"quick-{digest[:16]}.space"
    copy.write_text("")
    with pytest.raises(RunError) as caught:
        next(search_run(written(tmp_path, TEXT.replace("quick", "nas_fpn"))))
    assert f"  space as it was: {copy}" in str(caught.value).splitlines()


def test_what_may_change_or_is_decided_later_is_not_compared(tmp_path: Path) -> None:
    begun(tmp_path)
    other = TEXT.replace("workers = 2", 'workers = 1\naddress = "local"')
    other += "[budget]\ntrials = 40\n[confirm]\nseeds = 5\n"
    events = search_run(written(tmp_path, other))
    try:
        next(events)  # the data are read
    finally:
        events.close()
