"""The graph of an architecture: every default, name, key and bias decided."""

from nas_fpn.language import lower, parse

HEAD = "p3..p5 = c3..c5 -> conv1\n"


def last(text: str):
    return lower(parse(HEAD + text)).nodes[-1]


def keys(ops) -> list[tuple[str, str]]:
    return [(op.key, op.name) for op in ops]


def test_a_default_resampler_stands_behind_the_operand_s_blocks():
    node = last("p3 = sum(p3, p4 -> relu, p5 -> sni bn)")
    assert [keys(edge.ops) for edge in node.edges] == [
        [],
        [("operand2.0", "relu"), ("operand2.1", "nearest")],
        [("operand3.0", "sni"), ("operand3.1", "bn")],
    ]
    up = node.edges[2].ops
    assert [(op.source, op.level) for op in up] == [(5, 3), (3, 3)]


def test_then_blocks_end_merge_lines_without_an_arrow_only():
    text = "then relu conv3\n" + HEAD + "p3 = sum(p3, p4)\np4 = sum(p4, p5) -> id\np5 = p5 -> bn"
    nodes = lower(parse(text)).nodes[3:]
    assert [keys(node.ops) for node in nodes] == [
        [("0", "relu"), ("1", "conv3")],
        [("0", "id")],
        [("0", "bn")],
    ]


def test_a_single_source_has_all_its_ops_in_the_line():
    node = last("p6 = p5 -> relu stride")
    assert node.merge is None
    assert node.edges[0].ops == ()
    assert [(op.key, op.source, op.level) for op in node.ops] == [("0", 5, 5), ("1", 5, 6)]


def test_addends_come_before_the_blocks_and_are_values():
    node = last("p3 = p3 + p3 -> relu")
    assert (node.edges[0].source, node.addends, keys(node.ops)) == ("p3", ("p3",), [("0", "relu")])


def test_aliases_have_no_node():
    graph = lower(parse(HEAD + "x = p3\ny = x -> id\np4 = sum(p4, y)"))
    assert [node.key for node in graph.nodes] == ["p3", "p4", "p5", "p4_2"]
    assert [edge.source for edge in graph.nodes[-1].edges] == ["p4", "p3"]


def test_lines_that_reach_no_output_have_no_node():
    graph = lower(parse(HEAD + "t@3 = sum(p3, c2 -> conv1)\np3 = p4"))
    assert [node.key for node in graph.nodes] == ["p4", "p5", "p3_2"]
    assert graph.inputs == (4, 5)


def test_what_a_pass_leaves_the_next_one_finds():
    graph = lower(parse(HEAD + "repeat 2:\n    a@4 = sum(p3, p4)\n    p3 = sum(p3, a)"))
    assert [node.key for node in graph.nodes[3:]] == [
        "repeat1.1.a",
        "repeat1.1.p3",
        "repeat1.2.a",
        "repeat1.2.p3",
    ]
    assert [edge.source for edge in graph.nodes[-1].edges] == ["repeat1.1.p3", "repeat1.2.a"]
    assert graph.outputs == ((3, "repeat1.2.p3"), (4, "p4"), (5, "p5"))


def test_arguments_are_all_there_and_channels_resolved():
    node = last("p3 = concat[32](p3, p4 -> sni) -> bn[eps=0.5] conv3")
    assert node.merge is not None
    assert (node.merge.channels, node.merge.bias) == (32, False)
    assert node.edges[1].ops[0].arguments == (("mode", "nearest"), ("alpha", "ratio"))
    assert node.ops[0].arguments == (("eps", 0.5), ("momentum", 0.1))
    assert (node.ops[0].channels, node.ops[1].channels, node.ops[1].bias) == (None, 256, True)


def test_a_depthwise_convolution_has_a_bias_where_no_norm_follows():
    node = last("p3 = p3 -> dw3 conv1 dw3 bn dw3[nobias]")
    assert [op.bias for op in node.ops] == [True, True, False, False, False]
    node = last("p3 = concat[plain](p3, p4) -> conv1")
    assert node.merge is not None
    assert not node.merge.bias
