"""The known word that an unknown one is nearest to, for an error's text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """``; did you mean --watch?``, or nothing where no known word is near.

    Args:
        word: the unknown word.
        known: the words it could be.
        prefix: what all of them begin with; it makes no two words near.
    """
    import difflib  # noqa: PLC0415  (only an error needs it)

    rests = [other.removeprefix(prefix) for other in known]
    near = difflib.get_close_matches(word.removeprefix(prefix), rests, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
