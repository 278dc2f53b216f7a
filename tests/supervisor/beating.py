"""A service to be supervised, in a few words: `beating.py WORD...`, each of which is done in turn.

say:TEXT      print it              send:STATES   notify (states with commas between)
beat:SECONDS  beat for so long      wait:PATH     until something is written to that FIFO
hang          without end
"""

from __future__ import annotations

import signal
import sys
import time

from leaderlock.kernel.sd_notify import Notifier

notifier = Notifier.from_environment()
assert notifier is not None
for word in sys.argv[1:]:
    what, _, value = word.partition(":")
    if what == "say":
        print(value, flush=True)
    elif what == "send":
        notifier.send(*value.split(","))
    elif what == "beat":
        end = time.monotonic() + float(value)
        while time.monotonic() < end:
            notifier.send("WATCHDOG=1")
            time.sleep(0.2)
    elif what == "wait":
        with open(value, "rb") as file:
            file.read(1)
    else:
        while True:
            signal.pause()
