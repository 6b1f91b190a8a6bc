"""The proposals that a Fast R-CNN reads: which file has those of which split, and what is in it.

A split that was split off has its proposals in the file of the split that it was taken from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nas_fpn.detect import DetectorSettings
from nas_fpn.detect.proposals import read_proposals, with_proposals
from nas_fpn.errors import DataError, RunError
from nas_fpn.proxy.settings import DataSettings
from nas_fpn.run.data import Data

__all__ = ["proposal_hashes", "proposed"]


def proposed(data: Data, settings: DataSettings) -> Data:
    """The data of a training with the proposals of its images.

    Raises:
        RunError: where a split has no file of proposals.
        DataError: for a fault in a file.
    """
    files = _files(settings)
    boxes = {path: read_proposals(path) for path in dict.fromkeys(files.values())}
    notes, splits = list(data.notes), {}
    for split, path in files.items():
        dataset = getattr(data, split)
        splits[split], without = with_proposals(dataset, boxes[path], path=path, split=split)
        if without:
            notes.append(
                f"proposals: {without} of the {len(dataset.images)} images of {split} have none"
            )
    return replace(data, **splits, notes=tuple(notes))


def proposal_hashes(detector: DetectorSettings, settings: DataSettings) -> dict[str, str]:
    """The hash of each split's file; nothing for a detector that reads no proposals.

    Raises:
        RunError, DataError: where a file is not named, or not there.
    """
    if detector.kind != "fast_rcnn":
        return {}
    hashes = {}
    for split, path in _files(settings).items():
        if not path.is_file():
            raise DataError(f"{path}: no such file; {split}_proposals in [data] names it")
        hashes[split] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def _files(settings: DataSettings) -> Mapping[str, Path]:
    """The file of each split."""
    is_whole = settings.images is None  # the embedded scenes come in all splits
    train, val, test = settings.train_proposals, settings.val_proposals, settings.test_proposals
    if not is_whole and settings.val is None:
        val = train
    if not is_whole and settings.test is None:
        test = val
    files = {"train": train, "val": val, "test": test}
    if missing := [f"{split}_proposals" for split, path in files.items() if path is None]:
        raise RunError(
            f'[detector] kind = "fast_rcnn": reads proposals, and [data] has no '
            f"{', '.join(missing)}\nname COCO results files of boxes on these images, or take "
            '"faster_rcnn", which proposes itself'
        )
    return {split: path for split, path in files.items() if path is not None}
