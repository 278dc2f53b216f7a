"""The known word that an unknown one is nearest to, for an error's text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean --watch?``, or nothing where no known word is near."""
    import difflib  # noqa: PLC0415  (only an error needs it)

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
