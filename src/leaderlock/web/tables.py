"""A table of the page, for wide screens and for phones."""

from __future__ import annotations

from leaderlock.web.markup import Markup, element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table_of(caption: str, headings: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Markup:
    """A table that scrolls sideways by itself; the first cell of a row is the row's heading.

    On a phone a row becomes a block, in which each cell has its column's heading beside it.
    """
    head = element("tr", *[element("th", heading, scope="col") for heading in headings])
    body = [
        element(
            "tr",
            element("th", first, scope="row", data_label=headings[0]),
            *[
                element("td", cell, data_label=heading)
                for heading, cell in zip(headings[1:], rest, strict=True)
            ],
        )
        for first, *rest in rows
    ]
    table = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *body)
    )
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)
