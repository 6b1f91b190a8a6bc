"""The exported folder: source, program, weights, settings, drawing, how to load it.

It follows the model folders of the Hugging Face hub and of ``torch.hub`` (``export/hub.py``). Equal
necks give equal bytes, file by file.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save

from nas_fpn.export.adapters import Facts, check_adapters, write_adapters
from nas_fpn.export.deploy import deployed_weights
from nas_fpn.export.form import PLAIN, Form
from nas_fpn.export.formats import FORMATS, write_formats
from nas_fpn.export.header import packages
from nas_fpn.export.hub import hub_files
from nas_fpn.export.own import used_files
from nas_fpn.export.readme import readme
from nas_fpn.export.source import neck_source
from nas_fpn.export.with_backbone import WITH_BACKBONE
from nas_fpn.language.canonical import identity
from nas_fpn.language.draw import draw
from nas_fpn.necks.neck import Neck
from nas_fpn.necks.operand_weights import operand_weights

__all__ = ["export_neck"]

STATISTICS = "features.safetensors"  # of a run: what the features were scaled by
COMPANIONS = (STATISTICS, "trial.json")  # what callers put beside a neck, besides:
DETECTOR = "detector"
DEPLOYED = "deployed: norms folded, branches merged, fusion weights constant; not for training"


def export_neck(
    neck: Neck,
    folder: Path,
    *,
    image_size: int = 640,
    scores: Mapping[str, float] | None = None,
    provenance: Mapping[str, str] | None = None,
    beside: Mapping[str, str] | None = None,
    form: Form = PLAIN,
) -> Path:
    """Write a neck with its weights to ``folder``, made if it is missing; give the folder back.

    ``image_size`` (pixels) is that of the cost in the README, ``scores`` a table there.
    ``provenance`` says in the README and in the source where the neck comes from, row by row.
    ``beside`` says what other files the caller puts there, for the README's list. ``form`` asks
    for the deployed form, for other formats and for adapters. Files of the same names are
    overwritten, those of formats and adapters not asked for and ``with_backbone/`` removed, and so
    is what an earlier export of a run put beside its neck: the caller writes his afterwards. Others
    are left alone. Raises RunError where a form cannot be written.
    """
    facts = Facts.of(neck, scaled=STATISTICS in (beside or {}), deploy=form.deploy)
    check_adapters(form.adapters, facts)
    folder.mkdir(parents=True, exist_ok=True)
    _forget(folder)
    architecture, origin = neck.architecture, dict(provenance or {})
    if form.deploy:
        origin |= {"form": DEPLOYED}
    settings = {"in_channels": list(neck.in_channels), "width": architecture.width}
    own = used_files(neck)
    listed = dict.fromkeys(own, "the words that the program has of its own")
    source = neck_source(architecture, neck.in_channels, provenance=origin, deploy=form.deploy)
    needs = packages(source)
    files = {
        "neck.py": source,
        "neck.neck": str(architecture),
        "neck.svg": draw(architecture, weights=operand_weights(neck)),
        "config.json": json.dumps(settings, indent=2) + "\n",
        **hub_files("neck", "Neck", identity=identity(architecture), needs=needs),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for name, content in own.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    state = deployed_weights(neck) if form.deploy else neck.state_dict()
    weights = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    for name in FORMATS:
        (folder / f"neck.{name}").unlink(missing_ok=True)  # of other weights
    shutil.rmtree(folder / WITH_BACKBONE, ignore_errors=True)  # likewise
    others = write_formats(folder, form.formats)
    adapters = write_adapters(folder, facts, form.adapters)
    text = readme(
        neck,
        needs=needs,
        image_size=image_size,
        scores=scores or {},
        provenance=origin,
        beside={**listed, **others, **adapters.held, **(beside or {})},
        adapters=adapters,
    )
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
    return folder


def _forget(folder: Path) -> None:
    """Remove what callers put beside another neck, if ``folder`` holds one of an earlier export."""
    if not all((folder / name).is_file() for name in ("neck.neck", "model.safetensors")):
        return
    for name in COMPANIONS:
        (folder / name).unlink(missing_ok=True)
    if (folder / DETECTOR / "detector.py").is_file():
        shutil.rmtree(folder / DETECTOR)
