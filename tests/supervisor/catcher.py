"""A command that catches every signal and prints its number: `catcher.py [STATUS [SIGNAL...]]`.

It ends, with STATUS, by any of the SIGNALs (TERM if none is given); without STATUS by none.
"""

from __future__ import annotations

import os
import signal
import sys

status = int(sys.argv[1]) if len(sys.argv) > 1 else -1
ending = {int(word) for word in sys.argv[2:]} or {signal.SIGTERM}
everything = signal.valid_signals() - {signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, everything)
os.write(1, f"up {os.getpid()}\n".encode())
while True:
    number = signal.sigwaitinfo(everything).si_signo
    os.write(1, f"{number}\n".encode())
    if status >= 0 and number in ending:
        os._exit(status)
