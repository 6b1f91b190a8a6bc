"""The section of the verdict end to end: the sentence, and a table of every neck trained."""

from nas_fpn.record import Event
from nas_fpn.report.confirmed import confirmed_said, confirmed_table
from nas_fpn.report.markup import Markup, join, tag

__all__ = ["confirmed_section"]

WORDS = ("neck", "each seed")  # columns that are no number


def confirmed_section(event: Event) -> Markup:
    """What the trainings of real detectors say, and their scores, sizes and costs."""
    table = confirmed_table(event)
    rows = []
    shown = table.astype(object).where(table.notna(), "–")
    for neck, cells in zip(event["necks"], shown.itertuples(index=False), strict=True):
        name, *others = map(str, cells)
        inside = [
            tag("td", {"class": None if column in WORDS else "n"}, cell)
            for column, cell in zip(table.columns[1:], others, strict=True)
        ]
        kind = {"class": "control" if neck["role"] == "control" else None}
        rows.append(tag("tr", kind, tag("th", {"scope": "row"}, name), inside))
    heads = [
        tag("th", {"scope": "col", "class": None if column in WORDS else "n"}, str(column))
        for column in table.columns
    ]
    about = (
        f"Trained end to end in {event['detector']} at {event['image_size']} pixels, scored on "
        f"{event['split']}; AP in points, costs of neck and head"
    )
    return join(
        (tag("p", {"class": "said"}, line) for line in confirmed_said(event).splitlines()),
        tag(
            "div",
            {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "End to end"},
            tag(
                "table",
                {},
                tag("caption", {}, about),
                tag("thead", {}, tag("tr", {}, heads)),
                tag("tbody", {}, rows),
            ),
        ),
    )
