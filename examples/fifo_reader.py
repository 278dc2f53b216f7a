"""Read a program's log through a FIFO, across the restarts of the program and of this reader.

python examples/fifo_reader.py /run/app/log.fifo &
python examples/fifo_reader.py /run/app/log.fifo &      # stands by, and reads on if the first one dies
echo hello > /run/app/log.fifo                          # a writer that ends, and does so again
"""

from __future__ import annotations

import os
import signal
import sys

from leaderlock import Election, Leadership
from leaderlock.inbox.lines import PersistentReader

# Made in each process and not in the task: standbys, too, hold the FIFO open, so that no writer gets
# SIGPIPE and no line is lost while the next leader takes over.
reader = PersistentReader(sys.argv[1])


def read(leadership: Leadership) -> None:
    for line in reader.lines(leadership):
        print(f"{os.getpid()} {leadership.term} {line.decode(errors='replace')}", flush=True)


ending = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ending)
candidate = Election(sys.argv[1] + ".lock").start(read)
signal.sigwait(ending)
candidate.stop(5)
