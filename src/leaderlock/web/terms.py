"""The last terms on the page: a line, a drawing and a table."""

from __future__ import annotations

from leaderlock.history import drawing as timeline
from leaderlock.history.phrases import HEADINGS, row_of
from leaderlock.history.reading import History
from leaderlock.history.summary import Summary, leaderless_since
from leaderlock.web.markup import Markup, element, join
from leaderlock.web.tables import table_of

_TERMS = 50
"""The most terms in the table."""


def terms_of(history: History | str, key: str, now: float) -> Markup:
    """The terms, or the reason why there is no history; `key` makes the IDs of the elements unique."""
    if isinstance(history, str):
        return element("p", f"There is no history to see: {history}", class_="faint")
    since = leaderless_since(history, now)
    damaged = f"Damaged entries, which are left out: {history.damaged}." if history.damaged else ""
    rows = [row_of(term, now) for term in reversed(history.terms[-_TERMS:])]
    drawings = [
        timeline.draw(history, now=now, style=False, key=f"timeline-{key}-{layout.kind}", layout=layout)
        for layout in (timeline.WIDE, timeline.NARROW)
    ]
    table = table_of("The terms, newest first", HEADINGS, rows)
    return join(
        [
            element("p", f"{Summary(history, now).as_text()}."),
            element("p", f"Nobody leads now, for {since} already.", class_="warning") if since else "",
            element("p", damaged, class_="warning") if damaged else "",
            element(
                "div",
                Markup("".join(drawings)),
                class_="wide",
                tabindex="0",
                role="region",
                aria_label="Timeline of terms",
            ),
            element(
                "details",
                element("summary", "The last terms as a table"),
                table,
                id=f"terms-{key}",
            )
            if rows
            else "",
        ]
    )
