"""A baseline at a run's own width and levels."""

import inspect

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import (
    canonical,
    find_neck,
    identity,
    lower,
    parse,
    read_neck,
    shipped_folder,
)
from nas_fpn.language.fit import fit

BASELINES = sorted(p.stem for p in (shipped_folder("search_spaces") / "baselines").glob("*.neck"))
LEVELS = (
    (3, 4, 5),
    (3, 4, 5, 6),
    (3, 4, 5, 6, 7),
    (3, 4, 5, 6, 7, 8),
    (3, 4),
    (3,),
    (4, 5, 6),
    (5,),
)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("name", BASELINES)
def test_a_fitted_baseline_has_the_width_and_the_levels(name: str, levels: tuple[int, ...]):
    fitted = fit(read_neck(find_neck(name)), width=48, levels=levels)
    graph = lower(fitted)
    assert tuple(level for level, _ in graph.outputs) == levels
    assert graph.width == 48
    assert set(graph.inputs) <= set(levels)
    assert parse(str(fitted)) == fitted
    assert fit(fitted, width=48, levels=levels) == fitted
    assert identity(parse(str(canonical(fitted)))) == identity(fitted)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_at_its_own_width_and_levels_is_itself(name: str):
    neck = read_neck(find_neck(name))
    levels = [level for level, _ in lower(neck).outputs]
    assert identity(fit(neck, width=neck.width, levels=levels)) == identity(neck)


def test_levels_above_are_cut_and_a_merge_of_one_operand_becomes_it():
    fitted = fit(read_neck(find_neck("fpn")), width=64, levels=(3, 4))
    assert str(fitted).splitlines()[-6:] == [
        "",
        "p3 = c3 -> conv1",
        "p4 = c4 -> conv1",
        "p3 = sum(p3, p4)",
        "p3 = p3 -> conv3",
        "p4 = p4 -> conv3",
    ]


def test_levels_below_are_cut_where_the_neck_ends_there():
    fitted = fit(read_neck(find_neck("panet")), width=64, levels=(4, 5))
    assert str(fitted).splitlines()[-8:] == [
        "p4 = c4 -> conv1",
        "p5 = c5 -> conv1",
        "p4 = sum(p4, p5)",
        "p4 = p4 -> conv3",
        "p5 = p5 -> conv3",
        "p5 = sum(p5, p4 -> stride)",
        "p4 = p4 -> conv3",
        "p5 = p5 -> conv3",
    ]
    below = parse("p3 = c3 -> conv1\nt@2 = sum(p3, c2 -> conv1)\np3 = sum(p3, t)")
    assert identity(fit(below, width=256, levels=(3,))) == identity(below)


def test_levels_that_lack_are_subsampled():
    fitted = fit(read_neck(find_neck("none")), width=64, levels=(3, 4, 5, 6, 7))
    assert str(fitted).splitlines()[-2:] == ["p6 = p5 -> subsample", "p7 = p6 -> subsample"]


def test_the_blocks_of_a_merge_stay_with_its_only_operand():
    neck = parse("then relu conv3\np3..p4 = c3..c4 -> conv1\np3 = fast(p3 -> bn, p4)")
    line = str(fit(neck, width=8, levels=(3,))).splitlines()[-1]
    assert line == "p3 = p3 -> bn relu conv3"


def test_a_neck_without_the_finest_level_is_refused():
    with pytest.raises(SpaceError) as raised:
        fit(read_neck(find_neck("fpn")), width=64, levels=(2, 3, 4))
    assert str(raised.value) == (
        "this neck has levels 3..7, but 2..4 are asked for\n"
        "choose a baseline that reaches the finest level"
    )


def test_a_cut_that_leaves_unequal_channels_is_refused():
    text = """
        p3..p4 = c3..c4 -> conv1
        t@3 = concat[plain](p3, p4)
        u@3 = concat[plain](p3, p3)
        p3 = sum(t, u)
        """
    neck = parse(inspect.cleandoc(text))
    assert fit(neck, width=8, levels=(3, 4)).with_width(256) == neck
    with pytest.raises(SpaceError) as raised:
        fit(neck, width=8, levels=(3,))
    assert str(raised.value) == (
        "this neck fits no width 8 with levels 3..3\n"
        "the neck, cut:6:13: unequal channels: 8 and 16\n"
        "    p3 = sum(t, u)\n"
        "                ^\n"
        "the operands of 'sum' have equal channels; add `-> conv1` to one of them"
    )


def test_a_width_that_a_stage_cannot_halve_is_refused():
    with pytest.raises(SpaceError, match="in 2 equal parts, but would give 9"):
        fit(parse("p3 = c3 -> csp"), width=9, levels=(3,))


def test_what_joins_below_moves_up_where_nothing_else_is_left():
    fitted = fit(read_neck(find_neck("hrfpn")), width=64, levels=(3, 4, 5))
    assert str(fitted).splitlines()[-4:] == [
        "t@3 = concat(c3, c4, c5)",
        "p3 = t -> conv3",
        "p4 = t -> avgpool conv3",
        "p5 = t -> avgpool conv3",
    ]


def test_the_blocks_of_a_merge_act_behind_the_resampler_of_its_only_operand():
    neck = parse(
        "then relu conv3\np3..p4 = c3..c4 -> conv1\nt@4 = sum(p4, p3)\n"
        "p5 = sum(t, p3 -> conv1)\np6 = sum(p5, p4)\np7 = p6 -> maxpool\np6 = gp(p7, p5)"
    )
    lines = str(fit(neck, width=8, levels=(3, 4, 5, 6))).splitlines()
    assert lines[-1] == "p6 = p5 -> maxpool relu conv3"
