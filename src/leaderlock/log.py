"""The one logger, ``leaderlock``: imported when there is something to say, as logging costs 6 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

_logger: logging.Logger | None = None


def log() -> logging.Logger:
    """The ``leaderlock`` logger; looked up once, since a new leader asks for it before its task."""
    global _logger  # noqa: PLW0603
    if _logger is None:
        import logging  # noqa: PLC0415

        _logger = logging.getLogger("leaderlock")
    return _logger
