"""A neck of a run leaves with its backbone: of a verdict, of a front, and what is refused first."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nas_fpn.cli import main
from nas_fpn.detect import DetectorSettings, build_detector
from nas_fpn.detect.dataset import Category
from nas_fpn.errors import RunError
from nas_fpn.export import Form, export_neck
from nas_fpn.language import identity, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.record import Entry, read_history
from nas_fpn.report import front
from nas_fpn.run import add_run_backbone, export_from_run, export_with_backbone, read_run
from nas_fpn.run.export_front import export_front
from nas_fpn.run.leave import leave_detector
from nas_fpn.run.trainer import Trainer
from nas_fpn.training import Standardised
from tests.report.synthetic import write_run
from tests.run.test_confirmed_weights import CONTROL, FOUND, add, decided, entries

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
BACKBONE = "mobilenetv3_small_050"
OBJECTIVES = ("ap", "-latency_ms")
FCOS = DetectorSettings(head_depth=1)
UNEVEN = "p3 = c3 -> conv1[8]\np4 = c4 -> conv1[12]\n"
Check = Callable[[str, object], None]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Compare a message with the golden text of that name."""

    def compare(name: str, fault: object) -> None:
        text = f"{fault}\n".replace(str(tmp_path), "TMP")
        assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")

    return compare


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "mine", 6)
    (folder / "run.toml").write_text(f'space = "quick"\n[backbone]\nname = "{BACKBONE}"\n')
    return folder


def several(run: Path) -> tuple[Entry, ...]:
    """Give the run two objectives; return the front."""
    toml = run / "run.toml"
    toml.write_text(f"objective = {json.dumps(OBJECTIVES)}\n{toml.read_text()}")
    return front(entries(run), OBJECTIVES)


def detector_of(run: Path, trial: int, settings: DetectorSettings = FCOS) -> nn.Module:
    """A training on record whose detector has numbers of its own everywhere; in evaluation mode."""
    entry = entries(run)[trial]
    architecture = parse(entry.text)
    folder = run / "confirm" / f"{entry.neck}-101"
    add(
        run, event="training", of=f"{trial}-101", neck=entry.neck, trial=trial, text=entry.text,
        role="found", seed=101, split="test", steps=2, scores={"ap": 0.1}, seconds=1.0,
        folder=f"confirm/{folder.name}", detections="0" * 64, reason=None,
    )  # fmt: skip
    torch.manual_seed(trial)
    inputs = (3, 4, 5)
    backbone = build_backbone(read_run(run).backbone.model_copy(update={"weights": "none"}), inputs)
    neck = Neck(architecture, [backbone.channels[level] for level in inputs], seed=trial)
    with torch.no_grad():
        for module in (backbone, neck):
            for value in module.state_dict().values():
                if value.is_floating_point():
                    value.mul_(1 + 0.2 * torch.rand_like(value)).add_(0.01)
    statistics = {k: (torch.rand(c), 0.5 + torch.rand(c)) for k, c in backbone.channels.items()}
    standard = Standardised(backbone, statistics)
    model = build_detector(settings, standard, neck, num_classes=2, image_size=64, seed=0)
    export_neck(neck, folder / "neck")
    save_file(standard.statistics(), folder / "neck" / "features.safetensors")
    categories = [Category(1, "one"), Category(2, "two")]
    leave_detector(folder, model, backbone, settings, categories=categories, image_size=64)
    return model.eval()


def export(run: Path, number: int | None, to: Path, form: Form | None = None) -> None:
    for _ in export_from_run(run, number, to, form=form or Form()):
        pass
    add_run_backbone(run, to, BACKBONE, number=number)


def features(folder: Path, images: Tensor) -> list[Tensor]:
    model = torch.hub.load(str(folder / "with_backbone"), "model", source="local").eval()
    return list(model(images).values())


@torch.inference_mode()
def same_features(folder: Path, model: nn.Module) -> None:
    """The module of both gives what the body of the detector gives on the same images."""
    images = torch.rand(2, 3, 64, 64)
    expected = list(model.backbone(images).values())  # type: ignore[operator]
    assert expected[0].std() > 0
    torch.testing.assert_close(features(folder, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("deploy", [False, True])
def test_a_neck_of_a_verdict_leaves_with_the_backbone_it_was_trained_with(
    run: Path, tmp_path: Path, deploy: bool
) -> None:
    model = detector_of(run, FOUND)
    decided(run, best=FOUND)
    export(run, None, tmp_path / "to", Form(deploy=deploy))
    same_features(tmp_path / "to", model)
    text = (tmp_path / "to" / "with_backbone" / "README.md").read_text()
    assert "Both were trained end to end" in text


def test_each_neck_of_a_front_leaves_with_its_own_backbone(run: Path, tmp_path: Path) -> None:
    best = several(run)
    assert len(best) > 1
    models = {entry.number: detector_of(run, entry.number) for entry in best}
    decided(run, best=None, necks=(CONTROL, *(n for n in models if n != CONTROL)))
    export(run, None, tmp_path / "to", Form(adapters=("torchvision",)))
    for entry in best:
        folder = tmp_path / "to" / f"{entry.number}-{entry.neck}"
        same_features(folder, models[entry.number])
        assert (folder / "for_torchvision.py").is_file()


def test_one_neck_of_a_front_leaves_alone_where_the_front_was(run: Path, tmp_path: Path) -> None:
    several(run)
    model = detector_of(run, FOUND)
    decided(run, best=None)
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "front.json").write_text('{"front": []}')
    export(run, FOUND, tmp_path / "to")
    same_features(tmp_path / "to", model)


@pytest.mark.parametrize("name", ["recursive_steps", "switchable"])
def test_a_detector_of_more_than_one_backbone_is_refused(
    run: Path, tmp_path: Path, name: str, check: Check
) -> None:
    detector_of(run, FOUND)
    decided(run, best=FOUND)
    config = run / "confirm" / f"{entries(run)[FOUND].neck}-101" / "config.json"
    told = json.loads(config.read_text())
    told["detector"][name] = 2 if name == "recursive_steps" else True
    config.write_text(json.dumps(told))
    with pytest.raises(RunError) as caught:
        export(run, FOUND, tmp_path / "to")
    check(f"with_backbone_{name}", caught.value)
    assert not (tmp_path / "to" / "with_backbone").exists()


def test_another_backbone_is_refused_before_the_neck_is_trained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], check: Check
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", f"{run}:{FOUND}", "--to", f"{tmp_path}/to", "--with-backbone", "vgg11"])
    check("with_backbone_other", capsys.readouterr().err.strip())
    assert not (tmp_path / "to").exists()


def test_a_backbone_of_ones_own_is_refused_before_the_neck_is_trained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], check: Check
) -> None:
    (run / "run.toml").write_text('space = "quick"\n[backbone]\nname = "mine.py:build"\n')
    (run / "mine.py").write_text("raise SystemExit('it ran')")
    arguments = ["--to", f"{tmp_path}/to", "--with-backbone", "mine.py:build"]
    with pytest.raises(SystemExit, match="2"):
        main(["export", f"{run}:{FOUND}", *arguments])
    check("with_backbone_own", capsys.readouterr().err.strip())
    assert not (tmp_path / "to").exists()


def test_a_backbone_of_ones_own_without_a_run_is_refused_and_not_run(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("raise SystemExit('it ran')")
    for pretrained in (False, True):
        with pytest.raises(RunError, match=r"mine\.py:build is a backbone of your own"):
            export_with_backbone(
                parse(UNEVEN), tmp_path / "to", name=f"{own}:build", pretrained=pretrained, seed=0
            )
    assert not (tmp_path / "to").exists()


def test_a_neck_that_no_adapter_fits_is_refused_before_it_is_trained(
    searched: Path, tmp_path: Path, check: Check
) -> None:
    copy = Path(shutil.copytree(searched, tmp_path / "mine"))
    rows = [json.loads(row) for row in (copy / "history.jsonl").read_text().splitlines()]
    for row in rows:
        if row["event"] == "ask" and row["trial"] == 0:
            row |= {"text": UNEVEN, "neck": identity(parse(UNEVEN))}
    (copy / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(RunError) as caught:
        next(export_from_run(copy, 0, tmp_path / "to", form=Form(adapters=("torchvision",))))
    check("with_adapter_uneven", caught.value)
    assert not (tmp_path / "to").exists()


def test_a_front_with_such_a_neck_is_refused_before_the_others_are_trained(
    searched: Path, tmp_path: Path, check: Check
) -> None:
    known = read_history(searched / "history.jsonl").entries[:2]
    made = []
    for entry, text, score in zip(known, (known[0].text, UNEVEN), (0.1, 0.2), strict=True):
        assert entry.outcome is not None
        outcome = replace(entry.outcome, scores={"ap": score, "latency_ms": 10 * score})
        made.append(replace(entry, text=text, neck=identity(parse(text)), outcome=outcome))
    (bank,) = (searched / "bank").glob("bank-*.safetensors")
    trainer = Trainer(bank, read_run(searched).settings.proxy, 0)
    form = Form(adapters=("torchvision",))
    with pytest.raises(RunError) as caught:
        next(export_front(made, OBJECTIVES, trainer, tmp_path / "to", notes=(), form=form))
    check("with_adapter_front", caught.value)
    assert not (tmp_path / "to").exists()
