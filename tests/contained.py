"""`remote.py` as PID 1 of PID and mount namespaces of its own, as in a container."""

from __future__ import annotations

import os
import sys
from pathlib import Path

REMOTE = Path(__file__).with_name("remote.py")

os.execvp(
    "unshare",
    [
        *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
        *(sys.executable, str(REMOTE), *sys.argv[1:]),
    ],
)
