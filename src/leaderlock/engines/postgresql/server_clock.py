"""A candidate's knowledge of the server's clock: whether that clock was set forward of late.

The row of an election has the time of the leader's last renewal by the server's clock. If an
administrator sets that clock forward by an hour, each lease looks like one that ended long ago, and a
candidate would lead beside a living leader. So a candidate compares that clock with its own
CLOCK_MONOTONIC, and adds to its wait what the server's clock has gained since an earlier sample. A
candidate that has just come has no earlier sample: it compares with the time of its own machine, and
waits too long if that is behind.
"""

from __future__ import annotations

import time


class ServerClock:
    """Compares the server's clock with this machine's."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []

    def note(self, server: float) -> None:
        """Keep a sample: the server's time now, in seconds since the epoch."""
        now = time.monotonic()
        self._samples = [*self._samples[-1:], (now, server - now)]

    def gained(self, server: float, lease: float) -> float:
        """Seconds by which the server's clock may have been set forward within the last lease.

        Args:
            server: the server's time now.
            lease: the leader's lease; an older renewal is of no interest.
        """
        now = time.monotonic()
        offsets = [offset for _, offset in self._samples]
        if not self._samples or self._samples[0][0] > now - lease:
            offsets.append(time.time() - now)
        return max(server - now - min(offsets), 0.0)
