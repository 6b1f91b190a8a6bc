"""The shipped necks on one page: a table, then each with its program, its costs and its drawing.

The drawings are files of their own beside the page, so that it also shows them where a page may
not hold SVG.
"""

import re
from collections.abc import Iterator
from itertools import takewhile

from nas_fpn.language.draw import draw
from nas_fpn.language.files import find_neck, read_neck
from nas_fpn.language.listing import IMAGE_SIZE, IN_CHANNELS, Listed, list_necks

__all__ = ["neck_page"]

_HEAD = """# The shipped necks

Written by `nas-fpn necks --page docs`; `nas-fpn show NAME` prints one, `nas-fpn export NAME`
gives its source and weights. Parameters and multiply-adds (GMACs) are those of the neck alone,
behind a ResNet-50 ({channels} channels at levels {levels}) and for images of
{side} × {side} pixels, at the width that its text names; its parameters also at width 256. In a
drawing levels are rows, coarse on top; what enters stands left, the pyramid right; a frame is a
repeat. Each neck equals its public reference as its text says; published weights go in by
`nas_fpn.export.from_published`, and [this table](../benchmarks/results/necks.md) has the times."""

_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")


def neck_page() -> dict[str, str]:
    """The page as ``necks.md``, each drawing as ``necks/NAME.svg``; equal programs, equal bytes."""
    listed = list_necks()
    files = {"necks.md": "\n".join(_page(listed)) + "\n"}
    for neck in listed:
        files[f"necks/{neck.name}.svg"] = draw(read_neck(find_neck(neck.name)))
    return files


def _page(listed: tuple[Listed, ...]) -> Iterator[str]:
    yield _HEAD.format(
        channels=", ".join(map(str, IN_CHANNELS.values())),
        levels=f"{min(IN_CHANNELS)} to {max(IN_CHANNELS)}",
        side=IMAGE_SIZE,
    )
    yield ""
    yield "| neck | paper | lines | width | parameters | at width 256 | GMACs |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for neck in listed:
        yield (
            f"| [{neck.name}](#{neck.name}) | {_linked(neck.paper)} | {neck.lines} | {neck.width} "
            f"| {neck.params:,} | {neck.params_256:,} | {neck.macs / 1e9:.2f} |"
        )
    for neck in listed:
        text = find_neck(neck.name).read_text(encoding="utf-8")
        comment = list(takewhile(lambda row: row.startswith("#"), text.splitlines()))
        yield ""
        yield f"## {neck.name}"
        yield ""
        yield f"**{neck.title}.** {_linked(neck.paper)}".rstrip()
        if comment[1:]:
            yield ""
            yield from (_linked(row.removeprefix("#").strip()) for row in comment[1:])
        yield ""
        yield f"![{neck.title}](necks/{neck.name}.svg)"
        yield ""
        yield "```text"
        yield from text.strip().splitlines()[len(comment) :]
        yield "```"
        yield ""
        own = f"{neck.params:,} parameters and {neck.macs / 1e9:.2f} GMACs at width {neck.width}"
        yield own + ("." if neck.width == 256 else f"; {neck.params_256:,} parameters at 256.")


def _linked(text: str) -> str:
    return _ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", text)
