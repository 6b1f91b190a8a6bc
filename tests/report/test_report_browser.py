"""The report in a browser without a network: opens, sorts, filters, draws, stays quiet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_fpn.report import open_run, report_html
from tests.report.browser import Browser, find_browser
from tests.report.synthetic import write_run

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no chromium is installed")

BAD = "</script><script>document.title = 'taken'</script><img src=x onerror=document.title='taken'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Browser]:
    """The report, opened anew; its console has to stay silent and nothing may be fetched."""
    browser.said.clear()
    browser.fetched.clear()
    browser.shape(1280, 900, dark=False)
    browser.open(report)
    yield browser
    assert browser.said == []
    assert {url.partition(":")[0] for url in browser.fetched} <= {"file", "data"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "<b>run", 20, controller=BAD)
    path = folder / "history.jsonl"
    record = path.read_text().replace("ap/disc", f"ap/{BAD}")
    path.write_text(record.replace("RuntimeError: no memory", BAD))
    file = folder / "report.html"
    file.write_text(report_html([open_run(folder)]), encoding="utf-8")
    return file


def column(page: Browser, head: str) -> list[str]:
    heads = page.run("[...table.tHead.rows[0].cells].map(c => c.textContent)")
    at = heads.index(head)
    found: list[str] = page.run(f"[...table.tBodies[0].rows].map(r => r.cells[{at}].textContent)")
    return found


def click(page: Browser, head: str) -> str:
    """Click a heading; how the table says that it is sorted."""
    button = (
        f"[...document.querySelectorAll('#table th button')].find(b => b.textContent === {head!r})"
    )
    page.run(f"{button}.click()")
    said: str = page.run(f"{button}.parentElement.getAttribute('aria-sort')")
    return said


def test_it_opens_with_the_best_trial_first(page: Browser) -> None:
    assert page.run("document.title") == "nas_fpn: <b>run"
    assert page.run("document.querySelectorAll('#table tbody tr').length") == 24
    states = column(page, "state")
    scores = [float(v) for v, s in zip(column(page, "ap"), states, strict=True) if s == "complete"]
    assert scores == sorted(scores, reverse=True)
    assert states[: len(scores)] == ["complete"] * len(scores)


def test_a_heading_sorts_both_ways(page: Browser) -> None:
    assert click(page, "params, M") == "descending"
    params = [float(value) for value in column(page, "params, M")]
    assert params == sorted(params, reverse=True)
    assert click(page, "params, M") == "ascending"
    assert [float(value) for value in column(page, "params, M")] == sorted(params)
    assert click(page, "trial") == "ascending"
    assert column(page, "trial") == [str(number) for number in range(24)]


def test_it_filters_by_text_and_state(page: Browser) -> None:
    page.run("filter.value = 'PANET'; filter.dispatchEvent(new Event('input'))")
    assert column(page, "neck") == ["panet"]
    assert page.run("count.textContent") == "1 of 24 trials"
    page.run("filter.value = ''; state.value = 'stopped'; state.dispatchEvent(new Event('input'))")
    assert set(column(page, "state")) == {"stopped"}


def test_a_trial_has_a_page_with_its_drawing(page: Browser) -> None:
    page.run("document.querySelector('a[href=\"#trial-2\"][data-trial]').click()")
    page.wait("document.querySelector('#picture .neck')?.shadowRoot.querySelector('svg rect')")
    assert page.run("trial.open")
    assert page.run("document.activeElement.id") == "trial-title"
    assert page.run("document.querySelector('#trial-title').textContent") == "trial 2: panet"
    assert "p3" in page.run("document.querySelector('#trial-body pre').textContent")
    assert page.run("document.querySelector('#trial-body svg.plot path.found') !== null")
    page.run("document.querySelector('#close').click()")
    page.wait("location.hash === '#trials'")
    assert not page.run("trial.open")


def test_an_address_opens_a_trial_and_the_neighbours_follow_the_table(page: Browser) -> None:
    page.run("location.hash = '#trial-7'")
    page.wait("trial.open")
    order = column(page, "trial")
    after = page.run("document.querySelector('#after').getAttribute('href')")
    assert after == f"#trial-{order[order.index('7') + 1]}"
    assert "mix = " in "".join(
        page.run(
            "[...document.querySelectorAll('#trial-body tr')].map(r => "
            "[...r.cells].map(c => c.textContent).join(' = '))"
        )
    )


def test_a_mark_shows_its_drawing_to_mouse_and_keyboard(page: Browser) -> None:
    page.run("document.querySelector('svg a[href] .winner').parentElement.focus()")
    page.wait("!hover.hidden && hover.querySelector('img')?.naturalWidth > 0")
    page.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert page.run("hover.hidden")
    page.run(
        "document.querySelector('svg circle.faint').dispatchEvent("
        "new PointerEvent('pointerover', {bubbles: true}))"
    )
    page.wait("!hover.hidden && hover.querySelector('img')?.naturalWidth > 0")


def test_the_plots_have_a_table_behind_them(page: Browser) -> None:
    page.run("document.querySelector('details[data-table]').open = true")
    page.wait("document.querySelectorAll('details[data-table] tbody tr').length > 20")


def test_a_heading_is_pressed_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('#table th button').focus()")
    page.run("scrollTo(0, 0)")
    for kind in ("keyDown", "keyUp"):
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        page.send("Input.dispatchKeyEvent", type=kind, **key)
    page.wait("document.querySelector('#table th').getAttribute('aria-sort') === 'ascending'")


def test_whatever_a_reader_is_told_of_has_a_name(page: Browser) -> None:
    page.run("location.hash = '#trial-7'")
    page.wait("trial.open && document.querySelector('#picture .neck')")
    inside = nodes(page)
    page.run("document.querySelector('#close').click()")
    told = {"image", "link", "button", "table", "region", "heading", "dialog", "combobox"}
    for role, name in [*inside, *nodes(page)]:
        assert name or role not in told, f"a {role} has no name"
    assert [role for role, _ in inside].count("image") >= 1


def nodes(page: Browser) -> list[tuple[str, str]]:
    """Role and name of everything that a screen reader meets."""
    page.send("Accessibility.enable")
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored")
    ]


def test_hostile_text_does_nothing(page: Browser) -> None:
    page.run("location.hash = '#trial-9'")
    page.wait("trial.open && document.querySelector('#picture .neck')")
    assert "onerror" in page.run("document.querySelector('#trial-body').textContent")
    assert page.run("document.querySelector('img[src=x], b') === null")
    assert page.run("document.title") == "nas_fpn: <b>run"


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_in_one_direction(page: Browser, *, dark: bool) -> None:
    page.shape(390, 844, dark=dark)
    assert page.run("document.documentElement.scrollWidth") <= 390
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    page.run("location.hash = '#trial-7'")
    page.wait("trial.open && document.querySelector('#picture .neck')")
    assert page.run("trial.scrollWidth <= trial.clientWidth")


def test_the_policy_forbids_the_network(browser: Browser, report: Path) -> None:
    browser.open(report)
    refused = browser.run(
        "fetch('http://127.0.0.1:9/').then(() => 'fetched', (error) => String(error))"
    )
    assert "TypeError" in refused
    browser.wait("true")
    assert any("Content Security Policy" in said for said in browser.said)
