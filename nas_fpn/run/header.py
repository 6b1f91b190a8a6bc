"""The first line of a record: all that the answer depends on."""

import hashlib
import importlib.metadata
import os
import platform
from dataclasses import asdict
from typing import Any

import torch

from nas_fpn.proxy.bank import Bank
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run

__all__ = ["known_header", "make_header"]

PACKAGES = ("nas-fpn", "torch", "torchvision", "timm", "ray", "optuna", "numpy")


# What of the settings hangs on what is measured before a search begins.
LATER: dict[str, bool | set[str]] = {
    "ray": True,
    "report": True,
    "budget": True,
    "proxy": {"threads", "steps"},
}


def known_header(run: Run, question: Question) -> dict[str, Any]:
    """What of :func:`make_header` is known before the backbone has seen an image."""
    settings = run.settings.model_dump(mode="json", exclude=LATER)
    return {**_hashes(run, question), "settings": settings}


def make_header(
    run: Run, question: Question, *, bank: Bank, notes: tuple[str, ...], trials: int
) -> dict[str, Any]:
    """Of a search that begins: its question by hashes, its settings, and where it runs.

    ``notes`` say which splits were made; ``trials`` is the budget.
    """
    settings = run.settings.model_dump(mode="json", exclude={"ray", "report"})
    halving = None if run.settings.halving is None else asdict(run.settings.halving)
    settings |= {"budget": {"trials": trials}, "notes": list(notes), "halving": halving}
    return {
        **_hashes(run, question),
        "bank": bank.key,
        "settings": settings,
        "packages": _packages(),
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _hashes(run: Run, question: Question) -> dict[str, Any]:
    sources = (question.space_source, question.controller_source)
    space, controller = (hashlib.sha256(source).hexdigest() for source in sources)
    own = [file.sha256 for file in question.space.words.files]
    words = dict(zip(run.settings.words, own, strict=True))
    backbone = question.backbone_source
    return {
        "seed": run.settings.seed,
        "space": space,
        "controller": controller,
        **({"words": words} if words else {}),
        **({} if backbone is None else {"backbone": hashlib.sha256(backbone).hexdigest()}),
    }


def _packages() -> dict[str, str]:
    """The versions that a number may depend on; in a bare checkout this one has none."""
    there = {name.lower() for one in importlib.metadata.distributions() if (name := one.name)}
    return {name: importlib.metadata.version(name) for name in PACKAGES if name in there}
