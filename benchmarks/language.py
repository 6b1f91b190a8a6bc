"""How fast the language is: architectures a second on one core, milliseconds to parse a file.

    python benchmarks/language.py [--write]

``--write`` puts the table into ``benchmarks/results/language.md``. Times are of the process (what
else the machine does counts little), the best of five rounds.
"""

import argparse
import platform
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from time import process_time

from nas_fpn.language import (
    canonical,
    decode,
    find_space,
    identity,
    parse_space,
    sample,
    shipped_folder,
    size,
)

sys.path.insert(0, str(Path(__file__).parent))
from machine import processor

RESULTS = Path(__file__).parent / "results" / "language.md"
COMMAND = "python benchmarks/language.py --write"
ROUNDS = 5
FIRST = """
from time import process_time
from nas_fpn.language import parse
start = process_time()
parse("p3 = c3 -> conv1")
print(process_time() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--number", type=int, default=2000, help="architectures a round")
    given = parser.parse_args()
    text = "\n".join([*architectures(given.number), "", *files(), ""])
    print(text)
    if given.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(
            f"# Speed of the language\n\n`{COMMAND}` wrote this file, with Python "
            f"{platform.python_version()} on one core of {processor()}.\n\n{text}",
            encoding="utf-8",
        )


def architectures(number: int) -> list[str]:
    """Rows of a table: the NAS-FPN space, its repeats fixed to the published seven."""
    text = find_space("nas_fpn").read_text(encoding="utf-8")
    space = parse_space(text.replace("{1 | 3 | 5 | 7}", "7"))
    assert size(space) == 1545067560960000000 // 4
    chance = random.Random(0)
    drawn = [sample(space, chance) for _ in range(500)]
    genotypes, members = cycle(drawn), cycle([decode(space, one) for one in drawn])
    steps: dict[str, Callable[[], object]] = {
        "sample": lambda: sample(space, chance),
        "decode": lambda: decode(space, next(genotypes)),
        "canonical": lambda: canonical(next(members)),
        "identity (canonical, and the hash of its text)": lambda: identity(next(members)),
        "sample + decode + canonical": lambda: canonical(decode(space, sample(space, chance))),
        "sample + decode + identity": lambda: identity(decode(space, sample(space, chance))),
    }
    rows = [
        "The NAS-FPN space with seven repeats; asked for: 2,000 architectures/s, goal 10,000.",
        "",
        "| step | µs | a second |",
        "| --- | ---: | ---: |",
    ]
    for name, step in steps.items():
        seconds = best(step, number)
        rows.append(f"| {name} | {seconds * 1e6:.1f} | {1 / seconds:,.0f} |")
    return rows


def files() -> list[str]:
    """Rows of a table: each shipped file; the parser itself is built by the first parse."""
    folder = shipped_folder("search_spaces")
    run = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    rows = [
        "Reading, checking and naming the choices of each shipped file; asked for: under 20 ms. "
        f"The first parse of a process also builds the parser: {float(run.stdout) * 1e3:.0f} ms.",
        "",
        "| file | ms |",
        "| --- | ---: |",
    ]
    for path in sorted([*folder.rglob("*.space"), *folder.rglob("*.neck")]):
        text = path.read_text(encoding="utf-8")
        seconds = best(lambda text=text: parse_space(text), 10)
        rows.append(f"| {path.relative_to(folder).as_posix()} | {seconds * 1e3:.1f} |")
    return rows


def best(step: Callable[[], object], number: int) -> float:
    """Seconds that one step takes, in the best round."""
    step()
    rounds = []
    for _ in range(ROUNDS):
        start = process_time()
        for _ in range(number):
            step()
        rounds.append((process_time() - start) / number)
    return min(rounds)


if __name__ == "__main__":
    main()
