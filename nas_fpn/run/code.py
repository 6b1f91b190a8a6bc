"""The code of a run, kept beside its answer: controller, own words, own backbone, and the space.

A record names them by hash. The copies in ``code/`` say what that was when the originals are
edited or gone, and a resume that meets other files says where the old ones are.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.record import History
from nas_fpn.run.question import Question
from nas_fpn.strange import inside

__all__ = ["check_backbone", "code_files", "keep_code"]


def code_files(question: Question) -> dict[str, bytes]:
    """The files that a question was read from, by the place of their copies in a run folder."""
    read = [
        (question.space_file, question.space_source),
        (question.controller_file, question.controller_source),
        *((Path(file.path), file.content) for file in question.space.words.files),
    ]
    if question.backbone_file is not None and question.backbone_source is not None:
        read.append((question.backbone_file, question.backbone_source))
    return {f"code/{_name(path, content)}": content for path, content in read}


def check_backbone(folder: Path, history: History, question: Question) -> None:
    """Hold the file of an own backbone against the one on record, before anything is made of it.

    Raises:
        RunError: where it is another, naming the copy of the old one.
    """
    known, path = history.header.get("backbone"), question.backbone_file
    if path is None or question.backbone_source is None or known is None:
        return  # that there is one now and was none, or the other way round, the settings say
    if sha256(question.backbone_source).hexdigest() != known:
        copies = sorted((folder / "code").glob(f"*-{str(known)[:16]}{path.suffix}"))
        was = "".join(f"as it was: {copy}\n" for copy in copies)
        raise RunError(
            f"{path}: is not the backbone that this run was begun with\n{was}"
            "put it back, or start a run in another folder"
        )


def keep_code(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the copies that are not there yet; one of another content is written again."""
    for place, content in files.items():
        path = inside(folder, place)
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(exist_ok=True)
        beside = path.with_name(f"{path.name}.part")
        beside.write_bytes(content)
        beside.replace(path)


def _name(path: Path, content: bytes) -> str:
    return f"{path.stem}-{sha256(content).hexdigest()[:16]}{path.suffix}"
