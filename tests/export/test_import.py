"""Configurations of other code bases: the text becomes a program, or a message with its place."""

import ast
import json
from pathlib import Path

import pytest

from nas_fpn.export import import_neck
from nas_fpn.language import find_neck, identity, parse
from nas_fpn.language.foreign import Imported, Options, translate

GOLDEN = Path(__file__).parents[1] / "golden" / "export" / "import"

RESNET = "in_channels=[256, 512, 1024, 2048], out_channels=256"
CELL = """[
    (4, "attention", (1, 3), False),
    (4, "sum", (1, 5), False),
    (3, "sum", (0, 6), True),
    (4, "sum", (6, 7), True),
    (5, "attention", (7, 8), True),
    (7, "attention", (6, 9), True),
    (6, "attention", (9, 10), True),
]"""

RETINANET = f"""\
# a whole config: what is not the neck may be anything
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='RetinaNet',
    backbone=dict(type='ResNet', depth=50, out_indices=tuple(range(4))),
    neck=dict(type='PAFPN', {RESNET}, start_level=1, num_outs=5),
    bbox_head=dict(type='RetinaHead', num_classes=CLASSES),
)
train_pipeline = [dict(type=name) for name in STEPS]
"""

YOLO = """\
nc: 80
scales: # depth, width, most channels
  n: [0.33, 0.25, 1024]
  l: [1.0, 1.0, 512]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 3, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 6, C2f, [256, True]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [-1, 6, C2f, [512, True]]
  - [-1, 1, Conv, [1024, 3, 2]]
  - [-1, 3, C2f, [1024, True]]
  - [-1, 1, SPPF, [1024, 5]]
head:
  - [-1, 1, Conv, [512, 1, 1]]
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 6], 1, Concat, [1]]
  - [-1, 3, C3, [512, False]]
  - [-1, 1, Conv, [256, 1, 1]]
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 4], 1, Concat, [1]]
  - [-1, 3, C3, [256, False]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1, 14], 1, Concat, [1]]
  - [-1, 3, C3, [512, False]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 10], 1, Concat, [1]]
  - [-1, 3, C3, [1024, False]]
  - [[17, 20, 23], 1, Detect, [nc]]
"""

EQUAL = {
    "fpn_maxpool": f"neck = dict(type='FPN', {RESNET}, num_outs=5)",
    "panet": RETINANET,
    "bfp": f"""neck = [
        dict(type='FPN', {RESNET}, num_outs=5),
        dict(type='BFP', in_channels=256, num_levels=5, refine_level=2, refine_type='conv')]""",
    "nas_fpn_mmdet": f"""norm_cfg = dict(type='BN', requires_grad=True)
model = dict(neck=dict(
    type='NASFPN', {RESNET}, num_outs=5, stack_times=7, start_level=1, norm_cfg=norm_cfg))""",
    "nas_fpn": f"NASFPN_BLOCK_SPECS = {CELL}",
    "bifpn": '{"fpn_channels": 64, "fpn_cell_repeats": 3, "in_channels": [40, 112, 320]}',
    "bifpn_sum": '{"fpn_channels": 64, "fpn_cell_repeats": 3, "weight_method": "sum"}',
    "bifpn_softmax": '{"fpn_channels": 64, "fpn_cell_repeats": 3, "weight_method": "attn"}',
    "fpn": "FeaturePyramidNetwork([512, 1024, 2048], 256, LastLevelP6P7(256, 256))",
    "fpn_c5": "FeaturePyramidNetwork([512, 1024, 2048], 256, LastLevelP6P7(2048, 256))",
}


def said(imported: Imported) -> list[str]:
    """The program's lines, without its docstring."""
    return [line for line in imported.text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("shipped", EQUAL)
def test_a_configuration_is_the_shipped_neck(shipped: str) -> None:
    ours = parse(find_neck(shipped).read_text(encoding="utf-8"))
    assert identity(parse(translate(EQUAL[shipped]).text)) == identity(ours)


@pytest.mark.parametrize(
    ("extra", "lines"),
    [
        ("", ["p6..p7 = p5..p6 -> subsample"]),
        ("add_extra_convs='on_input'", ["p6 = c5 -> stride", "p7 = p6 -> stride"]),
        ("add_extra_convs=True", ["p6 = c5 -> stride", "p7 = p6 -> stride"]),
        ("add_extra_convs='on_output'", ["p6 = p5 -> stride", "p7 = p6 -> stride"]),
        (
            "add_extra_convs='on_output', relu_before_extra_convs=True",
            ["p6 = p5 -> stride", "p7 = p6 -> relu stride"],
        ),
    ],
)
def test_extra_levels_of_an_fpn(extra: str, lines: list[str]) -> None:
    text = f"dict(type='FPN', {RESNET}, start_level=1, num_outs=5, {extra})"
    assert said(translate(text)) == [
        "width 256",
        "p3..p5 = c3..c5 -> conv1",
        "p4..p3 = sum(p4..p3, p5..p4)",
        "p3..p5 = p3..p5 -> conv3",
        *lines,
    ]


def test_extra_levels_of_a_lateral_are_made_before_it_is_convolved() -> None:
    text = f"dict(type='FPN', {RESNET}, start_level=1, num_outs=5, add_extra_convs='on_lateral')"
    assert said(translate(text))[3:] == [
        "p6 = p5 -> stride",
        "p7 = p6 -> stride",
        "p3..p5 = p3..p5 -> conv3",
    ]


@pytest.mark.parametrize(
    ("given", "blocks"),
    [
        ("norm_cfg=dict(type='BN', eps=1e-3, momentum=0.03)", "bn[eps=0.001, momentum=0.03]"),
        ("norm_cfg=dict(type='GN', num_groups=16)", "gn[groups=16]"),
        ("norm_cfg=dict(type='GN', num_groups=32), act_cfg=dict(type='ReLU')", "gn relu"),
        ("act_cfg=dict(type='LeakyReLU', negative_slope=0.1)", "leaky[slope=0.1]"),
        ("norm_cfg=None, act_cfg=None, conv_cfg=None", ""),
    ],
)
def test_norms_and_activations_stand_behind_each_convolution(given: str, blocks: str) -> None:
    bare = f"dict(type='FPN', {RESNET}, num_outs=4, {given}"
    lines = said(translate(f"{bare})"))
    assert lines[1] == f"p2..p5 = c2..c5 -> conv1 {blocks}".rstrip()
    assert lines[3] == f"p2..p5 = p2..p5 -> conv3 {blocks}".rstrip()
    lateral = said(translate(f"{bare}, no_norm_on_lateral=True)"))[1]
    assert "bn" not in lateral
    assert "gn" not in lateral


def test_levels_are_counted_from_the_finest() -> None:
    text = "dict(type='FPN', in_channels=[64, 128, 256], out_channels=64, num_outs=3)"
    assert "p3..p5 = c3..c5" in translate(text).text
    assert "p2..p4 = c2..c4" in translate(text, options=Options(finest=2)).text
    (note,) = translate(text).notes
    assert note == "in_channels has 3 numbers, taken as c3..c5; --finest says otherwise"
    assert translate(text, options=Options(finest=2)).notes == ()


def test_what_the_language_cannot_say_is_a_note() -> None:
    text = f"""dict(type='FPN', {RESNET}, num_outs=5, norm_cfg=dict(type='SyncBN',
        requires_grad=False), init_cfg=dict(type='Xavier'), upsample_cfg=dict(scale_factor=2))"""
    notes = " / ".join(translate(text).notes)
    for word in ("SyncBN", "requires_grad", "init_cfg", "scale_factor"):
        assert word in notes


def test_a_loose_end_is_added_where_its_level_is_given() -> None:
    cell = [(3, "sum", (0, 1), True), (4, "sum", (1, 3), True), (5, "attention", (4, 3), True)]
    text = json.dumps({"block_specs": cell, "num_filters": 64, "max_level": 5, "num_repeats": 2})
    assert said(translate(text))[-3:] == [
        "    p3 = sum(x3, x4)",
        "    p4 = sum(x4, p3)",
        "    p5 = gp(p4, p3) + x5",
    ]


def test_the_coarser_operand_of_an_attention_gates_whatever_the_order() -> None:
    swapped = CELL.replace("(1, 3)", "(3, 1)").replace("(9, 10)", "(10, 9)")
    assert said(translate(swapped)) == said(translate(CELL))


def test_bare_specs_take_repeats_and_width() -> None:
    imported = translate(CELL, options=Options(repeats=3, width=64))
    assert "width 64" in imported.text
    assert "repeat 3:" in imported.text
    assert imported.reference == "tensorflow.nas_fpn"
    assert translate(CELL.replace("(9, 10)", "(9, 8)")).reference is None


def test_a_yolo_head_is_two_ways_by_concatenation(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YOLO, encoding="utf-8")
    imported = import_neck(path, options=Options(scale="l"))
    assert said(imported) == [
        "width 256",
        "t10@5 = c5 -> conv1[512] bn silu",
        "t13@4 = concat[plain](t10, c4) -> csp[512, depth=3]",
        "t14@4 = t13 -> conv1 bn silu",
        "p3 = concat[plain](t14, c3) -> csp[depth=3]",
        "p4 = concat[plain](p3 -> stride bn silu, t14) -> csp[512, depth=3]",
        "p5 = concat[plain](p4 -> stride[512] bn silu, t10) -> csp[512, depth=3]",
    ]
    assert "C2f" not in " ".join(imported.notes)
    small = import_neck(path)
    assert "scale n, the first; --scale takes l" in small.notes
    assert "p3 = concat[plain](t14, c3) -> csp\n" in small.text
    parse(small.text)


def test_a_yolo_head_at_one_width_is_the_shipped_pan(tmp_path: Path) -> None:
    """Up to what the format alone has: a level as wide as the backbone's."""
    path = tmp_path / "mine.yml"
    rows = YOLO.partition("head:")[2]
    for channels in ("[512", "[1024"):
        rows = rows.replace(channels, "[256")
    path.write_text(YOLO.partition("head:")[0] + "head:" + rows, encoding="utf-8")
    ours = (
        find_neck("yolo_pan").read_text(encoding="utf-8").replace("then csp", "then csp[depth=3]")
    )
    imported = import_neck(path, options=Options(scale="l"))
    assert identity(parse(imported.text)) == identity(parse(ours))


@pytest.mark.parametrize(
    "stem",
    [
        ("Conv, [64, 3, 2]", "nn.MaxPool2d, [2, 2, 0]"),
        ("Conv, [64, 3, 2]", "nn.MaxPool2d, [2]"),
        ("Conv, [64, 3, 2]", "ADown, [128]"),
        ("Focus, [64, 3]", "SCDown, [128, 3, 2]"),
        ("HGStem, [32, 48]", "HGBlock, [48, 128, 3]"),
        ("HGStem, [32, 48]", "nn.MaxPool2d, [3, 1, 1]"),
    ],
)
def test_levels_of_a_backbone_go_by_the_strides_of_its_modules(
    tmp_path: Path, stem: tuple[str, str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YOLO, encoding="utf-8")
    expected = said(import_neck(path))
    changed = YOLO
    for row, module in zip(("Conv, [64, 3, 2]", "Conv, [128, 3, 2]"), stem, strict=True):
        changed = changed.replace(row, module, 1)
    path.write_text(changed, encoding="utf-8")
    assert said(import_neck(path)) == expected


FPN = f"dict(type='FPN', {RESNET}, num_outs=5"
WRONG = {
    "unknown_type": "neck = dict(type='PAFNP', in_channels=[8])",
    "shipped_type": "neck = dict(type='HRFPN', in_channels=[8])",
    "no_type": "neck = dict(in_channels=[8])",
    "unknown_key": f"neck = {FPN},\n    add_extra_conv='on_input')",
    "missing_key": "neck = dict(type='FPN', in_channels=[8, 16], out_channels=8)",
    "wrong_kind": "neck = dict(type='FPN', in_channels=512, out_channels=8, num_outs=5)",
    "extra_convs": f"neck = {FPN}, add_extra_convs='on_inputs')",
    "num_outs": f"neck = dict(type='FPN', {RESNET}, num_outs=3)",
    "norm": f"neck = {FPN}, norm_cfg=dict(type='LN'))",
    "activation": f"neck = {FPN}, act_cfg=dict(type='HSwish'))",
    "dcn": f"neck = {FPN}, conv_cfg=dict(type='DCNv2'))",
    "base": "_base_ = '../retinanet_r50_fpn.py'\nmodel = dict(neck=dict(num_outs=6))",
    "variable": "neck = dict(type='FPN', in_channels=CHANNELS)",
    "expression": "neck = dict(type='FPN', in_channels=[2**k for k in range(4)])",
    "twice": "w = 1\nw = 2\nneck = dict(type='FPN', in_channels=[8], out_channels=w, num_outs=1)",
    "code": "neck = dict(type='FPN', in_channels=__import__('os').getpid())",
    "syntax": "model = dict(neck=dict(type='FPN',",
    "no_neck": "model = dict(backbone=dict(type='ResNet'))",
    "nas_levels": "neck = dict(type='NASFPN', in_channels=[8, 8, 8, 8], out_channels=8, "
    "num_outs=5, stack_times=2)",
    "refine": f"neck = [{FPN}), dict(type='BFP', in_channels=256, refine_type='non_local')]",
    "spec_op": CELL.replace('"sum", (6', '"summ", (6'),
    "spec_offset": CELL.replace("(1, 5)", "(1, 6)"),
    "spec_outputs": CELL.replace("(3, ", "(4, ", 1),
    "spec_row": CELL.replace("(0, 6)", "(0,)"),
    "effdet_nodes": '{"fpn_channels": 64, "nodes": [{"feat_level": 6, "inputs_offsets": [3]}]}',
}


def complaint(text: str, file: str, options: Options | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        translate(text, file=file, options=options)
    assert type(caught.value).__name__ == "SpaceError"
    return f"{caught.value}\n"


@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    assert complaint(WRONG[name], "mine.py") == path.read_text(encoding="utf-8")


def test_an_option_of_another_kind_of_file() -> None:
    told = complaint(FPN + ")", "mine.py", Options(repeats=3))
    assert told == "mine.py: --repeats means nothing for FPN\nomit it\n"


ROWS = {
    "row_backbone": ("SPPF, [1024, 5]", "HGStemm, [32, 48]"),
    "row_stride": ("Conv, [64, 3, 2]", "Conv, [64, 3, 3]"),
    "row_module": ("C3, [512, False]", "C3k2, [512, False]"),
    "row_args": ("[256, 3, 2]]\n  - [[-1, 14]", "[256, 7, 2]]\n  - [[-1, 14]"),
    "row_levels": ("[[-1, 6], 1, Concat", "[[-1, 4], 1, Concat"),
    "row_from": ("[[17, 20, 23], 1, Detect", "[[17, 20, 24], 1, Detect"),
    "row_raw": ("[[17, 20, 23], 1, Detect", "[[17, 20, 9], 1, Detect"),
    "row_shape": ("[-1, 3, C3, [256, False]]", "[-1, 3, C3]"),
    "row_key": ("nc: 80", "nc: 80\nheads: 3"),
    "row_yaml": ("head:", "head: ["),
    "row_tag": ("nc: 80", "nc: !!python/object/apply:os.getpid []"),
}


@pytest.mark.parametrize("name", ROWS)
def test_messages_of_a_yaml_name_the_row(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YOLO.replace(*ROWS[name], 1), encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        import_neck(path)
    told = str(caught.value).replace(f"{tmp_path}/", "")
    assert f"{told}\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    ["(" * 300, "-" * 20_000 + "1", "[" * 150 + "]" * 150, "\0", "", "a.b" * 5000, "neck=neck"],
)
def test_any_text_is_a_program_or_an_error(text: str) -> None:
    complaint(text, "mine.py")


@pytest.mark.parametrize("text", ["[" * 20_000, "a: &a [*a]", "\t", "\x01", "- 1", "head: 3"])
def test_any_yaml_is_a_program_or_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml:1:"):
        import_neck(path)


def test_nothing_is_run(tmp_path: Path) -> None:
    """The readers have no way to: no eval, no exec, no import of what is read."""
    folder = Path(__file__).parents[2] / "nas_fpn"
    files = [
        *(folder / "language" / "foreign").glob("*.py"),
        *(folder / "export").glob("yolo_*.py"),
    ]
    called = {
        node.func.id
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile", "__import__"}
    touched = tmp_path / "touched"
    complaint(f"open({str(touched)!r}, 'w')\nneck = 3", "mine.py")
    assert not touched.exists()
