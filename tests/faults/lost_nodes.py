"""A search over the nodes of a cluster, which lose workers, come late and go; and its head."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.faulty import FREE, let_go, visits
from tests.faults.nodes import TOKEN, Cluster, Node, cluster, head
from tests.faults.processes import Line, Search, Tally, cli, fake

TRIALS = 20
RUN = """
space = "quick"
controller = "random_search"
baselines = ["none", "fpn"]
[budget]
trials = 12
[data]
shapes_train = 64
shapes_val = 16
shapes_test = 32
shapes_warmup = 32
[backbone]
warmup_steps = 20
[proxy]
image_size = 64
steps = 60
batch_size = 8
views = 1
evaluations = 3
[confirm]
seeds = 2
[ray]
workers = 4
address = "{address}"
[report]
mirror = false
"""


def nodes_lost(folder: Path) -> dict[str, Tally]:
    """One search: a worker killed, a node that joins late, a node killed; and where bytes went.

    The file that its trainings read must come to each node once, for all its workers.
    """
    tallies = {
        "worker killed on a node of three, by fakes": Tally(),
        "node killed of three, by fakes": Tally(),
    }
    hidden, marks = folder / "run", folder / "marks"
    hidden.mkdir(parents=True)
    (hidden / "bank.safetensors").write_bytes(os.urandom(70 << 20))  # three chunks
    with cluster(hidden) as there:
        first, second = there.add(), there.add()
        file = str(hidden / "bank.safetensors")
        command = fake(folder, workers=6, trials=TRIALS, address=there.head.gcs, file=file)
        with Search(command, variables=TOKEN) as search:
            for node in (first, second):
                until(search, lambda: len(at_work(marks, node)) == 2)  # noqa: B023
            os.kill(at_work(marks, first)[0], signal.SIGKILL)
            third = there.add()
            until(search, lambda: len(at_work(marks, third)) == 2)
            if there.apart:
                for node in there.nodes:
                    maps_one_copy(node, marks)
            second.kill()
            let_go(marks)
            assert search.end() == 0, search.errors
        for tally in tallies.values():
            tally.times += 1
            tally.look(folder / "history.jsonl", search.lines, trials=TRIALS)
    carried(there, search)
    assert len({visit["sha256"] for visit in visits(marks)}) == 1
    begun = Counter(visit["trial"] for visit in visits(marks))
    assert sum(count - 1 for count in begun.values()) == 3, begun  # of the killed ones, no other
    assert sum("begins again" in str(line.which) for line in search.lines) == 3
    return tallies


def until(search: Search, what: Callable[[], bool]) -> None:
    """Wait while a search runs."""
    while not what():
        assert search.process.poll() is None, search.errors
        time.sleep(0.1)


def said(search: Search, what: str, times: int) -> None:
    """Wait until a search has said something so often."""
    for _ in range(times):
        assert search.until(lambda line: line.what == what) is not None, search.errors


def at_work(marks: Path, node: Node) -> list[int]:
    """The processes of a node that have a trial which waits."""
    waiting = (visit for visit in visits(marks) if visit["trial"] >= FREE)
    return [visit["process"] for visit in waiting if visit["copies"] == str(node.folder / "copies")]


def maps_one_copy(node: Node, marks: Path) -> None:
    """Hold the workers of a node to one file, which lies in its folder, alone, and is mapped."""
    folder = node.folder / "copies"
    (copy,) = {visit["file"] for visit in visits(marks) if visit["copies"] == str(folder)}
    assert [one for one in folder.iterdir() if one.suffix != ".lock"] == [Path(copy)]
    mapped = [copy in Path(f"/proc/{worker}/maps").read_text() for worker in alive(node, marks)]
    assert mapped and all(mapped)


def alive(node: Node, marks: Path) -> set[int]:
    return {worker for worker in at_work(marks, node) if Path(f"/proc/{worker}").exists()}


def carried(there: Cluster, search: Search) -> None:
    """The file came to each node that is apart once, to others not at all."""
    copied = [line.which for line in search.lines if "has been copied to node" in str(line.which)]
    if not there.apart:
        assert copied == []
        return
    for node in there.nodes:
        assert sum(f"({node.address})" in text for text in copied) == 1, copied
    assert len(copied) == len(there.nodes), copied


def search_loses(folder: Path, say: Callable[[str], object] = lambda text: None) -> Tally:
    """``nas-fpn search`` on two nodes that loses a worker, then a node; a third one joins.

    ``say`` is told what happens, and every line of the search.
    """
    tally, folder = Tally(), folder / "run"
    folder.mkdir(parents=True)
    with cluster(folder) as there:
        how = "apart as two machines" if there.apart else "on loopback, which share the disk"
        say(f"* a head and two nodes, {how}")
        nodes = [there.add(), there.add()]
        (folder / "run.toml").write_text(RUN.format(address=there.head.gcs))
        with Search(cli(folder), variables=TOKEN) as search:

            def ended(count: int) -> None:
                while len(search.told()) < count and search.until(heard) is not None:
                    continue

            def heard(line: Line) -> bool:
                say(str(line.which))
                return True

            ended(3)
            victim = next(filter(trains, nodes[0].processes()))
            say(f"* kill -9 of process {victim}, a worker of node {nodes[0].address}")
            moments = [time.time()]
            os.kill(victim, signal.SIGKILL)
            ended(6)
            say(f"* kill -9 of all {len(nodes[1].processes())} processes of {nodes[1].address}")
            moments.append(time.time())
            nodes[1].kill()
            there.add()
            say(f"* another node has joined: {there.nodes[-1].address}")
            while search.until(heard) is not None:
                continue
            assert search.process.wait() == 0, search.errors
    for moment in moments:
        tally.times += 1
        tally.recovered(search, since=moment)
    record = tally.look(folder / "history.jsonl", [], trials=12)
    tally.lost += not any(event["event"] == "verdict" for event in record.events)
    return tally


def trains(process: int) -> bool:
    """Whether a process is a worker that has a trial, by the name that Tune gives it."""
    try:
        return b"Trainable" in Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def head_gone(folder: Path, *, times: int) -> Tally:
    """The head of a cluster killed, and none in its place; the search goes on under another one."""
    tally = Tally()
    for turn in range(times):
        where = folder / f"search{turn}"
        with head() as first:
            command = fake(where, workers=2, pause=0.3, address=first.gcs, patience=4.0)
            with Search(command, variables=TOKEN) as search:
                said(search, "Told", 1)
                first.kill()
                tally.times += 1
                assert search.end() == 1
            assert "RunError: Ray is gone" in search.errors, search.errors
            tally.look(where / "history.jsonl", search.lines)
        with head() as second:
            command = fake(where, workers=2, address=second.gcs)
            with Search(command, variables=TOKEN) as resumed:
                assert resumed.end() == 0, resumed.errors
        tally.recovered(resumed)
        tally.look(where / "history.jsonl", resumed.lines, trials=12)
    return tally
