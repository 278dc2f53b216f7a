"""A plugin of pytest: portalocker's own tests find leaderlock's classes under portalocker's names."""

from __future__ import annotations

import portalocker
import portalocker.utils

from leaderlock.interop import Lock, RLock

for module in (portalocker, portalocker.utils):
    for kind in (Lock, RLock):
        setattr(module, kind.__name__, kind)
