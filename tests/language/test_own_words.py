"""Laws of programs with own words: they are programs like any other, and forget nothing."""

import pickle
import random
import sys
from copy import deepcopy
from itertools import product
from pathlib import Path

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import (
    SHIPPED,
    Row,
    canonical,
    choices,
    cost,
    decode,
    encode,
    find_space,
    fit,
    identity,
    load_words,
    parse,
    parse_space,
    read,
    sample,
)
from nas_fpn.language.draw import draw, draw_text

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
WORDS = load_words([EXAMPLES / "words.py"])
SPACE = read(EXAMPLES / "words.space", words=WORDS)
WIDER = parse_space(
    """
width {16 | 32}
then eca bn
up pixel
let m = {agree | sum}
p3..p5 = c3..c5 -> conv1
repeat {1 | 2}:
    x3..x5 = p3..p5
    a..b@{3..5} = {agree | gp}(*, *) + rest
    p3..p5 = m(*, *) -> {eca | eca[kernel=5] | id} in any order
""",
    words=WORDS,
)
FILE = """
from nas_fpn.language import Row


def {name}(feature):
    return feature


words = {{"{name}": Row("{kind}", operation={name})}}
"""


def necks() -> list[object]:
    rng = random.Random(0)
    every = [range(choice.count) for choice in choices(SPACE)]
    return [decode(SPACE, genotype) for genotype in product(*every)] + [
        decode(WIDER, sample(WIDER, rng)) for _ in range(60)
    ]


@pytest.mark.parametrize("neck", necks(), ids=identity)
def test_the_laws_hold(neck) -> None:
    again = parse(str(neck), words=WORDS)
    assert (again, hash(again), again.words) == (neck, hash(neck), WORDS)
    short = canonical(neck)
    assert canonical(short) == short == parse(str(short), words=WORDS)
    assert identity(short) == identity(neck)
    assert draw(neck).startswith("<svg") and draw_text(neck)
    assert cost(neck, {3: 4, 4: 6, 5: 8}, image_size=64).params > 0
    fitted = fit(neck, width=8, levels=(3, 4, 5, 6))
    assert parse(str(fitted), words=WORDS) == fitted


@pytest.mark.parametrize("space", [SPACE, WIDER], ids=["example", "wider"])
def test_decode_encode_is_the_identity(space) -> None:
    rng = random.Random(1)
    for _ in range(25):
        neck = decode(space, sample(space, rng))
        assert decode(space, encode(space, neck)) == neck


def test_operands_of_an_own_merge_that_commutes_have_no_order() -> None:
    head = "p3..p4 = c3..c4 -> conv1\n"
    one, other = (parse(head + f"p3 = agree({o})", words=WORDS) for o in ("p3, p4", "p4, p3"))
    assert identity(one) == identity(other)


def test_no_file_means_the_shipped_words() -> None:
    assert load_words([]) is SHIPPED
    assert parse("p3 = c3 -> conv1").words is SHIPPED


def test_words_belong_to_a_program_and_not_to_the_process() -> None:
    with pytest.raises(SpaceError, match="unknown word 'eca'"):
        parse("p3 = c3 -> conv1 eca")
    with pytest.raises(SpaceError, match=r"carafe, pixel; did you mean 'pixel'\?"):
        parse("up pixl\np3 = c3 -> conv1", words=WORDS)


def test_one_word_may_mean_two_things_in_two_programs(tmp_path: Path) -> None:
    for kind in ("block", "up"):
        (tmp_path / f"{kind}.py").write_text(FILE.format(name="mine", kind=kind))
    block, up = (load_words([tmp_path / f"{kind}.py"]) for kind in ("block", "up"))
    parse("then mine\np3 = c3 -> conv1", words=block)
    with pytest.raises(SpaceError, match="'mine' is an up resampler"):
        parse("then mine\np3 = c3 -> conv1", words=up)
    with pytest.raises(SpaceError, match=r"up\.py: the word 'mine' stands in .*block\.py too"):
        load_words([tmp_path / "block.py", tmp_path / "up.py"])


def test_several_files_make_one_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text(FILE.format(name="mine", kind="block"))
    words = load_words([EXAMPLES / "words.py", tmp_path / "more.py"])
    assert list(words.own) == ["eca", "agree", "pixel", "mine"]
    assert words.file_of(words.rows["mine"]).path == str(tmp_path / "more.py")
    parse("p3 = c3 -> conv1 eca mine", words=words)


@pytest.mark.parametrize("line", ["eca@4 = sum(p3, p4)", "let"])
def test_an_own_word_names_no_feature_and_no_let(line: str) -> None:
    body = "p3..p4 = c3..c4 -> conv1\n"
    text = "let eca = conv3\n" + body if line == "let" else body + line
    with pytest.raises(SpaceError, match="reserved name: 'eca' is a word of the language"):
        parse(text, words=WORDS)


def test_programs_without_own_words_are_the_same_under_any() -> None:
    path = find_space("nas_fpn")
    plain, own = read(path), read(path, words=WORDS)
    genotype = sample(plain, random.Random(4))
    assert decode(plain, genotype) == decode(own, genotype)
    assert encode(own, decode(plain, genotype)) == encode(plain, decode(own, genotype))


def test_words_travel_with_their_bytes_and_are_shared_by_copies(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(name="mine", kind="block"))
    words = load_words([path])
    neck = parse("p3 = c3 -> conv1 mine", words=words)
    path.write_text("words = {}")
    packed = pickle.dumps(neck)
    sys.modules.pop(words.rows["mine"].operation.__module__)  # as in another process
    there = pickle.loads(packed)
    assert there == neck
    assert there.words.files == words.files
    assert isinstance(there.words.rows["mine"], Row)
    assert deepcopy(neck).words is words
    assert pickle.loads(pickle.dumps(parse("p3 = c3 -> conv1"))).words is SHIPPED


def test_an_edited_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(name="mine", kind="block"))
    before = load_words([path])
    path.write_text(FILE.format(name="yours", kind="block"))
    after = load_words([path])
    assert (list(before.own), list(after.own)) == (["mine"], ["yours"])
    assert before.files[0].sha256 != after.files[0].sha256


def test_a_merge_of_own_that_cuts_its_channels_needs_a_width_that_can_be_cut(tmp_path) -> None:
    path = tmp_path / "halves.py"
    path.write_text(
        "from torch import nn\nfrom nas_fpn.language import Row\n\n\nclass Halves(nn.Module):\n"
        "    def __init__(self, in_channels, out_channels, *, operands):\n"
        "        super().__init__()\n\n    def forward(self, *features):\n"
        "        return features[0]\n\n\nwords = {'halves': Row('merge', operation=Halves, "
        "gives=True, mixes=True, parts=4)}\n"
    )
    words = load_words([path])
    with pytest.raises(SpaceError, match="in 4 equal parts, but would give 10"):
        parse("width 10\np3 = halves(c3, c3)", words=words)
