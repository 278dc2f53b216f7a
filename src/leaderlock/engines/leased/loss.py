"""A leader's watch over an engine: the renewal's thread tells of a loss, and of a request."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.event import NativeEvent


class LossWatch:
    """Calls `changed` in the renewal's thread; see `Watch`.

    Args:
        watches: the functions that the renewal's thread calls.
        changed: called after a loss or a request.
    """

    has_thread = True
    """The renewal's thread runs anyway."""

    def __init__(self, watches: list[Callable[[], object]], changed: Callable[[], object]) -> None:
        self._watches = watches
        self._changed = changed

    def open(self) -> None:
        """See `Watch.open`."""
        self._watches.append(self._changed)
        self._changed()  # for a change from before the watch was open

    def fileno(self) -> int:
        """See `Watch.fileno`."""
        return -1

    def read(self) -> None:
        """See `Watch.read`."""

    def start(self) -> None:
        """See `Watch.start`."""

    def wait(self, event: NativeEvent, seconds: float | None) -> bool:
        """See `Watch.wait`."""
        return event.wait(seconds)

    def end(self) -> None:
        """See `Watch.end`."""
        if self._changed in self._watches:
            self._watches.remove(self._changed)
