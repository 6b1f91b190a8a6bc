"""The code of a run, kept beside its answer: the controller, the own words and the space it used.

A record names them by hash. The copies in ``code/`` say what that was when the originals are
edited or gone, and a resume that meets other files says where the old ones are.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from nas_fpn.run.question import Question
from nas_fpn.strange import inside

__all__ = ["code_files", "keep_code"]


def code_files(question: Question) -> dict[str, bytes]:
    """The files that a question was read from, by the place of their copies in a run folder."""
    read = [
        (question.space_file, question.space_source),
        (question.controller_file, question.controller_source),
        *((Path(file.path), file.content) for file in question.space.words.files),
    ]
    return {f"code/{_name(path, content)}": content for path, content in read}


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
