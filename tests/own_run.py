"""`remote.py` in a mount namespace of its own, whose /run is empty but for a /run/lock for everybody.

The first argument is what a shell does there before: more mounts, say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

REMOTE = Path(__file__).with_name("remote.py")

_OWN_RUN = "mount -t tmpfs -o mode=0755 tmpfs /run; mkdir -m 1777 /run/lock"

os.execvp(
    "unshare",
    [
        *("unshare", "--mount", "--propagation", "private", "--", "sh", "-euc"),
        f'{_OWN_RUN}; {sys.argv[1] or ":"}; exec "$@"',
        *("sh", sys.executable, str(REMOTE), *sys.argv[2:]),
    ],
)
