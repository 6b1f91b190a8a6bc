"""Every kind of fault, tried for real: each function breaks something and says what came of it.

``tests/faults/test_faults.py`` runs each, ``benchmarks/faults.py`` each as often as a page needs.
"""

import json
import random
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas_fpn.record import read_history
from tests.faults.nodes import TOKEN, head
from tests.faults.places import mount, mounted
from tests.faults.processes import Search, Tally, cli, fake, steady, undisturbed

TRIALS = 12  # of the searches by fakes
TINY = """
space = "quick"
controller = "random_search"
baselines = ["none", "fpn"]
[budget]
trials = 4
halving = "promote"
[data]
shapes_train = 16
shapes_val = 4
shapes_test = 4
shapes_warmup = 8
[backbone]
warmup_steps = 1
[proxy]
image_size = 64
steps = 12
batch_size = 4
views = 1
evaluations = 2
head_width = 16
[confirm]
seeds = 1
[ray]
workers = 0
[report]
mirror = false
"""


def run_folder(folder: Path, like: Path | None = None) -> Path:
    """A run of the real proxy, with the data and the bank of another one."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(TINY)
    for name in ("bank", "data") if like is not None else ():
        shutil.copytree(like / name, folder / name)  # type: ignore[operator]
    return folder


def driver_killed(folder: Path, *, times: int, seed: int = 0) -> Tally:
    """The driver, fakes in its own process, at random moments, until the search is over; again."""
    expected = undisturbed(folder / "whole", fake(folder / "whole"))
    return _killed_again_and_again(
        folder,
        times=times,
        chance=random.Random(seed),
        command=lambda where: fake(where, pause=0.03),
        moment=lambda search, chance: search.some(chance, 12, 0.2),
        expected=expected,
    )


def driver_on_ray_killed(folder: Path, *, times: int, seed: int = 0) -> Tally:
    """The driver of two workers on Ray, at random moments."""
    return _killed_again_and_again(
        folder,
        times=times,
        chance=random.Random(seed),
        command=lambda where: fake(where, workers=2, pause=0.2),
        moment=lambda search, chance: search.some(chance, 20, 1.0),
    )


def search_killed(folder: Path, *, times: int, like: Path, seed: int = 0) -> Tally:
    """``nas-fpn search`` with the real proxy, at random moments from its start on."""

    def command(where: Path) -> list[str]:
        if not where.exists():
            run_folder(where, like)
        return cli(where)

    tally = _killed_again_and_again(
        folder,
        times=times,
        chance=random.Random(seed),
        command=command,
        moment=lambda search, chance: search.some(chance, 16, 1.0),
        expected=steady(like / "history.jsonl"),
        trials=4,
    )
    for where in folder.iterdir():
        tally.lost += (where / "checkpoints").exists()  # what a killed one left is gone
        tally.lost += not (where / "best" / "neck.py").exists()
    return tally


def _killed_again_and_again(
    folder: Path,
    *,
    times: int,
    chance: random.Random,
    command: Callable[[Path], list[str]],
    moment: Callable[[Search, random.Random], None],
    expected: list[dict[str, Any]] | None = None,
    trials: int = TRIALS,
) -> Tally:
    """Kill searches at moments; each goes on from the one before until it is over."""
    tally = Tally()
    number = 0
    while tally.times < times:
        where = folder / f"search{number}"
        history = where / "history.jsonl"
        number += 1
        over = False
        while not over:
            with Search(command(where)) as search:
                begun = history.exists() and history.stat().st_size > 0
                over = tally.times >= times and search.end() == 0
                if not over:
                    moment(search, chance)
                    over = search.kill() == 0
                    tally.times += not over
                if begun:
                    tally.recovered(search)
                assert over or search.process.returncode == -signal.SIGKILL, search.errors
                if history.exists() and history.stat().st_size:
                    tally.look(history, search.lines)
        tally.look(history, [], trials=trials)
        if expected is not None:
            tally.same(history, expected)
    return tally


def worker_killed(folder: Path, *, times: int, like: Path) -> dict[str, Tally]:
    """The worker of the real proxy: in a step, in an evaluation, while it writes a checkpoint."""
    places = {2: "step", 3: "evaluation", 4: "checkpoint"}
    tallies = {f"worker killed in {what}": Tally() for what in ("a step", "an evaluation")}
    tallies["worker killed as it writes a checkpoint"] = Tally()
    for turn in range(times):
        where = run_folder(folder / f"run{turn}", like)
        command = fake(where, workers=1, run=str(where), faults=places)
        with Search(command) as search:
            assert search.end() == 0, search.errors
        for number, tally in zip(places, tallies.values(), strict=True):
            at = float((where / "marks" / f"fault-{number}").read_text())
            tally.times += 1
            tally.look(where / "history.jsonl", search.lines, trials=4)
            tally.same(where / "history.jsonl", steady(like / "history.jsonl"))
            tally.recovered(search, since=at)
            tally.lost += (where / "checkpoints").exists()
    return tallies


def trial_breaks(folder: Path, *, times: int) -> dict[str, Tally]:
    """Trials on Ray that meet a fault of their own, and how each ends."""
    faults = {2: "kill", 3: "memory", 4: "nan", 5: "hang", 6: "kill always"}
    names = {
        2: "worker killed once, as by a lack of memory",
        3: "MemoryError in a trial",
        4: "NaN in a trial",
        5: "a trial that hangs (trial_minutes)",
        6: "worker killed in every attempt, as by a lack of memory",
    }
    reasons = {
        2: None,
        3: "MemoryError",
        4: "the score ap is nan at step 200",
        5: "it took longer than 0.1 minutes, its limit in [budget] trial_minutes",
        6: "the worker died in 3 attempts: ",
    }
    tallies = {name: Tally() for name in names.values()}
    for turn in range(times):
        where = folder / f"search{turn}"
        with Search(fake(where, workers=2, trials=8, faults=faults, seconds=6.0)) as search:
            assert search.end() == 0, search.errors
        for number, name in names.items():
            tally = tallies[name]
            tally.times += 1
            record = tally.look(where / "history.jsonl", search.lines, trials=8)
            outcome, reason = record.entries[number].outcome, reasons[number]
            assert outcome is not None
            assert outcome.state == ("failed" if reason else "complete"), outcome
            assert (outcome.reason or "").startswith(reason or ""), outcome
            tally.recovered(search, since=float((where / f"marks/fault-{number}").read_text()))
    return tallies


def file_limit(folder: Path, *, times: int, seed: int = 0) -> Tally:
    """A disk that takes no more in the middle of the record, by a limit on the size of files."""
    expected = undisturbed(folder / "whole", fake(folder / "whole"))
    size = (folder / "whole" / "history.jsonl").stat().st_size
    tally, chance = Tally(), random.Random(seed)
    for turn in range(times):
        where = folder / f"search{turn}"
        most = chance.randrange(600, size)  # beyond its first line

        def limit(most: int = most) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        with Search(fake(where), preexec_fn=limit) as search:
            assert search.end() == 1
        assert "File too large" in search.errors
        tally.times += 1
        record = tally.look(where / "history.jsonl", search.lines)
        assert record.torn is None
        with Search(fake(where)) as search:
            assert search.end() == 0, search.errors
        tally.recovered(search)
        tally.look(where / "history.jsonl", search.lines, trials=TRIALS)
        tally.same(where / "history.jsonl", expected)
    return tally


def disk_full(folder: Path, *, like: Path, sizes: tuple[int, ...]) -> Tally:
    """``nas-fpn search`` on a disk of so many KiB that is enlarged when it is full."""
    tally = Tally()
    for size in sizes:
        with mounted(folder / f"{size}", f"size={size}k") as where:
            (where / "run.toml").write_text(TINY)
            with Search(cli(where)) as search:
                assert search.end() == 1, search.errors
            assert "No space left on device" in search.errors, search.errors
            assert "Traceback" not in search.errors, search.errors
            tally.times += 1
            history = where / "history.jsonl"
            if history.exists():
                assert tally.look(history, []).torn is None
            mount("-o", "remount,size=64m", str(where))
            with Search(cli(where)) as search:
                assert search.end() == 0, search.errors
            tally.recovered(search)
            tally.look(history, [], trials=4)
            tally.same(history, steady(like / "history.jsonl"))
    return tally


def read_only(folder: Path, *, times: int, like: Path) -> Tally:
    """A run that was killed, in a folder that cannot be written any more, and can again."""
    tally = Tally()
    for turn in range(times):
        with mounted(folder / f"{turn}", "size=64m") as where:
            (where / "run.toml").write_text(TINY)
            for name in ("bank", "data"):
                shutil.copytree(like / name, where / name)
            history = where / "history.jsonl"
            history.write_bytes(_cut((like / "history.jsonl").read_bytes(), ends=2))
            before = history.read_bytes()
            mount("-o", "remount,ro", str(where))
            with Search(cli(where)) as search:
                assert search.end() in (1, 2), search.errors
            assert "Read-only file system" in search.errors, search.errors
            assert "Traceback" not in search.errors, search.errors
            tally.times += 1
            assert history.read_bytes() == before
            mount("-o", "remount,rw", str(where))
            with Search(cli(where)) as search:
                assert search.end() == 0, search.errors
            tally.recovered(search)
            tally.look(history, [], trials=4)
            tally.same(history, steady(like / "history.jsonl"))
    return tally


def _cut(record: bytes, *, ends: int) -> bytes:
    """A record as a search leaves it that is killed when so many trials have ended."""
    lines = record.splitlines(keepends=True)
    told = [at for at, line in enumerate(lines) if json.loads(line).get("event") == "tell"]
    return b"".join(lines[: told[ends - 1] + 1])


def two_drivers(folder: Path, *, times: int, like: Path) -> Tally:
    """A second search of a run is refused and told who has it; one that was killed is no hurdle."""
    tally = Tally()
    for turn in range(times):
        where = run_folder(folder / f"run{turn}", like)
        history = where / "history.jsonl"
        with Search(cli(where)) as first:
            first.until(lambda line: "[1/6]" in str(line.which))
            first.process.send_signal(signal.SIGSTOP)  # it has the run for as long as we look
            before = history.read_bytes()
            with Search(cli(where)) as second:
                assert second.end() == 2, second.errors
            assert f"process {first.process.pid} on " in second.errors
            assert history.read_bytes() == before
            tally.times += 1
            first.kill()
        with Search(cli(where)) as third:
            assert third.end() == 0, third.errors
        tally.recovered(third)
        said = [line.which for line in third.lines if line.what == "printed"]
        assert any(f"process {first.process.pid} on " in str(one) for one in said)
        tally.look(history, [], trials=4)
        tally.same(history, steady(like / "history.jsonl"))
    return tally


def torn(folder: Path, *, times: int, seed: int = 0) -> Tally:
    """A last line that is cut short, as a machine that loses its power may leave it."""
    expected = undisturbed(folder / "whole", fake(folder / "whole"))
    tally, chance = Tally(), random.Random(seed)
    for turn in range(times):
        where = folder / f"search{turn}"
        command = fake(where)
        history = where / "history.jsonl"
        whole = (folder / "whole" / "history.jsonl").read_bytes().splitlines(keepends=True)
        kept = chance.randrange(1, len(whole))
        history.write_bytes(b"".join(whole[:kept]) + whole[kept][: chance.randrange(1, 20)])
        tally.times += 1
        assert read_history(history).torn is not None
        with Search(command) as search:
            assert search.end() == 0, search.errors
        assert "torn" in {line.what for line in search.lines}
        tally.recovered(search)
        tally.look(history, search.lines, trials=TRIALS)
        tally.same(history, expected)
    return tally


def head_restarted(folder: Path, *, times: int) -> Tally:
    """The head of a cluster, and all that runs on it, killed and started again."""
    tally = Tally()
    for turn in range(times):
        where = folder / f"search{turn}"
        with head() as first:
            command = fake(where, workers=2, pause=0.3, address=first.gcs)
            with Search(command, variables=TOKEN) as search:
                assert search.until(lambda line: line.what == "Told") is not None, search.errors
                first.kill()
                tally.times += 1
                with head(int(first.gcs.rpartition(":")[2])):
                    assert search.end() != 0
                    tally.look(where / "history.jsonl", search.lines)
                    with Search(command, variables=TOKEN) as resumed:
                        assert resumed.end() == 0, resumed.errors
            tally.recovered(resumed)
            tally.look(where / "history.jsonl", resumed.lines, trials=TRIALS)
    return tally
