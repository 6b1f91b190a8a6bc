"""The programs of the definition and of the guide: each is read, with the facts it states."""

import re
from pathlib import Path

import pytest

from nas_fpn.language import (
    decode,
    identity,
    lower,
    parse,
    parse_space,
    read,
    shipped_folder,
    size,
)
from nas_fpn.language.words import WORDS, Argument, Row

GUIDE = Path(__file__).parents[2] / "docs" / "language.md"
FENCES = re.findall(r"```text\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)

NAS_FPN = """
# NAS-FPN: the published cell, seven times.  Ghiasi et al. 2019, arXiv:1904.07392
width 256
then relu conv3 bn

p3..p5 = c3..c5 -> conv1 bn
p6..p7 = p5..p6 -> maxpool
repeat 7:
    x3..x7 = p3..p7
    a@4 = gp(x6, x4)
    b@4 = sum(a, x4)
    p3  = sum(b, x3)
    p4  = sum(p3, b)
    p5  = gp(p4, p3) + x5
    p7  = gp(p5, b) + x7
    p6  = gp(p7, p5)
"""
FPN = """
p3..p5 = c3..c5 -> conv1
p4..p3 = sum(p4..p3, p5..p4)
p3..p5 = p3..p5 -> conv3
p6 = p5 -> stride
p7 = p6 -> relu stride
"""
PAFPN = """
p3..p5 = c3..c5 -> conv1
p4..p3 = sum(p4..p3, p5..p4)
p3..p5 = p3..p5 -> conv3
p4 = sum(p4, p3 -> stride)
p5 = sum(p5, p4 -> stride)
p4..p5 = p4..p5 -> conv3
p6 = p5 -> subsample
"""
BIFPN = """
width 64
then swish sep3 bn
down maxpool3

p3..p5 = c3..c5 -> conv1 bn
p6 = c5 -> conv1 bn maxpool3
p7 = p6 -> maxpool3
t6@6 = fast(p6, p7)
t5@5 = fast(p5, t6)
t4@4 = fast(p4, t5)
p3 = fast(p3, t4)
p4 = fast(p4, t4, p3)
p5 = fast(p5, t5, p4)
p6 = fast(p6, t6, p5)
p7 = fast(p7, p6)
"""
AROUND_PANET = """
width {96 | 128 | 160}
up each {nearest | sni | bilinear}
let conv = {conv3 | sep3 | gsconve1}

p3..p5 = c3..c5 -> conv1 bn silu
p4 = {sum | fast | concat}(p4, p5) -> conv bn silu
p3 = {sum | fast | concat}(p3, p4, p5?) -> conv bn silu
p4 = {sum | fast | concat}(p4, p3 -> {stride | esd1 | maxpool}) -> conv bn silu
p5 = {sum | fast | concat}(p5, p4 -> {stride | esd1 | maxpool}, p3?) -> conv bn silu
"""
THREE_LINES = """
p3..p7 = c3..c7 -> conv1
repeat {1 | 3 | 5 | 7}:
    x3..x7 = p3..p7                                      # the paper's search space
    a..b@{3..7} = {sum | gp}(*, *)                       # `*` is any feature named above
    p3..p7 = {sum | gp}(*, *) + rest    in any order     # has used yet at that level
"""


@pytest.mark.parametrize(
    ("text", "inputs", "outputs", "nodes"),
    [
        (NAS_FPN, (3, 4, 5), (3, 4, 5, 6, 7), 5 + 7 * 7),
        (FPN, (3, 4, 5), (3, 4, 5, 6, 7), 10),
        (PAFPN, (3, 4, 5), (3, 4, 5, 6), 13),
        (BIFPN, (3, 4, 5), (3, 4, 5, 6, 7), 13),
    ],
    ids=["nas_fpn", "fpn", "pafpn", "bifpn"],
)
def test_programs_of_the_definition(text, inputs, outputs, nodes):
    graph = lower(parse(text))
    assert graph.inputs == inputs
    assert tuple(level for level, _ in graph.outputs) == outputs
    assert len(graph.nodes) == nodes


def test_a_name_of_a_pass_is_the_key_of_its_module():
    keys = [node.key for node in lower(parse(NAS_FPN)).nodes]
    assert keys[:6] == ["p3", "p4", "p5", "p6", "p7", "repeat1.1.a"]
    assert keys[-1] == "repeat1.7.p6"
    assert [node.key for node in lower(parse(FPN)).nodes][3:8] == [
        "p4_2",
        "p3_2",
        "p3_3",
        "p4_3",
        "p5_2",
    ]


def test_a_program_that_never_reads_a_level_does_not_ask_for_it():
    assert lower(parse("p3..p5 = c3..c5 -> conv1\np4 = sum(p3, p5)")).inputs == (3, 5)


def test_sizes_of_the_spaces_of_the_definition():
    assert size(parse_space(AROUND_PANET)) == 708588
    assert size(parse_space(THREE_LINES)) == 1545067560960000000


def test_the_shipped_published_cell_is_that_of_the_definition():
    shipped = decode(read(shipped_folder("search_spaces") / "baselines" / "nas_fpn.neck"), ())
    assert identity(shipped) == identity(parse(NAS_FPN))


def test_the_docstring_is_kept_by_the_text_and_is_no_part_of_the_id():
    text = "# one\n#   two\n#\n# four\n\n# no doc\np3 = c3 -> conv1  # nor this\n"
    neck = parse(text)
    assert neck.doc == "one\n  two\n\nfour"
    assert str(neck).startswith("# one\n#   two\n#\n# four\nwidth 256\n")
    assert identity(neck) == identity(parse("p3 = c3 -> conv1"))


@pytest.mark.parametrize(
    ("blocks", "bias"),
    [
        ("conv3", True),
        ("conv3 bn", False),
        ("conv3 id bn", False),
        ("conv3 relu bn", True),
        ("conv3 gn", False),
        ("conv3[bias] bn", True),
        ("conv3[nobias]", False),
    ],
)
def test_a_bias_is_there_unless_a_norm_follows(blocks: str, bias: bool):
    (node,) = lower(parse(f"p3 = c3 -> {blocks}")).nodes
    assert node.ops[0].bias is bias


# -- the guide


@pytest.mark.parametrize("program", FENCES, ids=range(len(FENCES)))
def test_programs_of_the_guide_are_read(program: str):
    stated = re.search(r"(\d+) genotypes", program)
    assert size(parse_space(program)) == (int(stated[1]) if stated else 1)


def test_the_python_of_the_guide_runs():
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(program, names)
    assert len(names["pyramid"]) == len(names["module"].levels)


def test_the_python_of_the_readme_runs():
    readme = (GUIDE.parents[1] / "README.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(program, names)
    assert names["p3"].shape == (2, 64, 32, 32)
    (text,) = re.findall(r'parse\("(.*)"\)', program)
    assert "p4 = sum(p4, p5) -> conv3" in str(names["parse"](text.replace("\\n", "\n")))


def said(argument: Argument) -> str:
    if argument.name == "bias":
        return "`[bias]` or `[nobias]`"
    if argument.name == "channels":
        return "`[96]` channels"
    if argument.default is False:
        return f"`[{argument.name}]`"
    ways = [*argument.options, *(["a number"] if argument.most != 999_999 else [])]
    text = f"`[{argument.name}={argument.default}]`"
    return f"{text} ({' or '.join(ways)})" if len(ways) > 1 else text


def notes(row: Row) -> str:
    found = []
    if row.kind == "merge":
        found.append("two operands" if row.operands[1] == 2 else "two operands or more")
    found += ["their order does not matter"] if row.commutes else []
    found += ["any channels in, `width` out"] if row.gives else []
    return "; ".join([*found, *(said(argument) for argument in row.arguments)])


def words_table() -> list[str]:
    """The rows of the guide's table of words: words of one kind and of the same notes together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for word, row in WORDS.items():
        groups.setdefault((row.kind, notes(row)), []).append(word)
    return [f"| {kind} | `{' '.join(words)}` | {note} |" for (kind, note), words in groups.items()]


def test_the_guide_lists_every_word_with_its_arguments():
    listed = re.findall(
        r"^\| (?:merge|up|down|block) \| .*$", GUIDE.read_text("utf-8"), re.MULTILINE
    )
    assert listed == words_table(), "in docs/language.md stand:\n" + "\n".join(words_table())
