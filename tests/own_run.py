"""`remote.py` in a mount namespace of its own, whose /run is empty but for a /run/lock for everybody.

The first argument is what a shell does there before: more mounts, say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

REMOTE = Path(__file__).with_name("remote.py")

_OWN_RUN = "mount -t tmpfs -o mode=0755 tmpfs /run; mkdir -m 1777 /run/lock"


def in_own_run(before: str) -> list[str]:
    """What comes before a command to run it there; a shell does something `before`."""
    return [
        *("unshare", "--mount", "--propagation", "private", "--", "sh", "-euc"),
        f'{_OWN_RUN}; {before or ":"}; exec "$@"',
        "sh",
    ]


if __name__ == "__main__":
    os.execvp("unshare", [*in_own_run(sys.argv[1]), sys.executable, os.fspath(REMOTE), *sys.argv[2:]])
