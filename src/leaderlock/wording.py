"""How moments, lengths and terms are said to people: in the terminal, in the drawing, on the page."""

from __future__ import annotations

import math
import time

from leaderlock.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history import Term

_LONGER = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``0.8 ms``, ``12.5 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest, parts = round(seconds), []
    for size, unit in _LONGER:
        count, rest = divmod(rest, size)
        parts.append((count, unit))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def moment(seconds: float) -> str:
    """A date and time of the clock here, from seconds since the epoch."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # no year has so many digits, says localtime(3)
        return "unknown"


def leader_of(term: Term) -> str:
    """Who led: ``417 on web-1``."""
    return f"{term.pid} on {printable(term.host)}"


def length_of(term: Term, now: float) -> str:
    """How long a term lasted, as far as it is known."""
    if term.ended is None:
        return duration(max(now - term.since, 0.0))
    if term.until is not None:
        return duration(max(term.until - term.since, 0.0))
    known = term.last_sign - term.since
    return f"> {duration(known)}" if known > 0 else "unknown"


def ending_of(term: Term) -> str:
    """How a term ended; ``leads`` while it lasts."""
    return term.ended or "leads"


def gap_before(term: Term) -> str:
    """How long nobody led before a term, as far as it is known."""
    if term.gap is not None:
        return duration(term.gap) if term.gap else "none"
    if term.gap_at_most is not None:
        return f"< {duration(term.gap_at_most)}"
    return "–" if term.term == 1 else "unknown"
