"""Before the first trial on a cluster: what the run reads, looked at from each node of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.run.inputs import Look, inputs_of
from nas_fpn.run.settings import Run
from nas_fpn.search.launch import on_each_node

__all__ = ["Everywhere", "check_nodes"]

SECONDS = 180.0  # that a node has to start a process and look
SHOWN = 8  # nodes

Everywhere = Callable[[Look, str], Mapping[str, tuple[str, ...] | RunError]]


def _everywhere(look: Look, address: str) -> Mapping[str, tuple[str, ...] | RunError]:
    return on_each_node(look, address=address, seconds=SECONDS)


def check_nodes(
    run: Run, *, packed: Path | None = None, everywhere: Everywhere = _everywhere
) -> int:
    """Look at a run's inputs here, and on each node of its cluster; the number of nodes asked.

    ``packed`` is the folder of files that came with the job. ``everywhere`` asks the nodes. Nodes
    are not asked where nothing is read from outside, or ``[ray] inputs`` is "driver". One that
    joins later is not asked: what a trial reads is brought to it.

    Raises:
        RunError: naming each node, what it does not reach, and how to mend it.
        DataError: where the annotations are not COCO.
    """
    inputs = inputs_of(run, packed=packed)
    if not inputs or run.settings.ray.inputs == "driver":
        return 0
    answers = everywhere(Look(inputs), run.settings.ray.address)
    faults = {name: answer for name, answer in answers.items() if answer}
    faults |= {name: answer for name, answer in answers.items() if isinstance(answer, RunError)}
    if not faults:
        return len(answers)
    rows = []
    for name, answer in sorted(faults.items())[:SHOWN]:
        said = [f"cannot look: {answer}"] if isinstance(answer, RunError) else answer
        rows += [f"  node {name}: {line}" for line in said]
    if len(faults) > SHOWN:
        rows.append(f"  and {len(faults) - SHOWN} more nodes")
    raise RunError(
        "\n".join(
            [
                f"{len(faults)} of {len(answers)} nodes do not reach what the run reads:",
                *rows,
                "mount it there at the same path, or name a URL (s3://…) that all nodes reach",
                'if the driver alone reads it, set inputs = "driver" in [ray]: trials read its '
                "features, which are brought to them",
            ]
        )
    )
