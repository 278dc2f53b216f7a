"""How long PID 1 takes to reap 10,000 orphans that become its children at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.supervisors import BECOME, environment, supervisors

ORPHANS = 10_000

# A child that forks the orphans, which end at once and stay zombies until it ends, too: no memory is
# needed for them, and the kernel hands all of them to PID 1 at the same moment.
COMMAND = f"""\
import os, struct, time
reader, writer = os.pipe()
parent = os.fork()
if parent == 0:
    os.close(reader)
    for _ in range({ORPHANS}):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.write(writer, struct.pack("=i", pid))
    os.write(writer, struct.pack("=q", time.monotonic_ns()))
    os._exit(0)
os.close(writer)
with open(reader, "rb") as file:
    data = file.read()
os.waitpid(parent, 0)
*pids, begin = struct.unpack("={ORPHANS}iq", data)
deadline = time.monotonic() + 60
for pid in pids:
    try:
        while time.monotonic() < deadline:
            os.kill(pid, 0)  # a zombie answers as well
            time.sleep(0.0002)
        raise SystemExit(f"process {{pid}} has not been reaped")
    except ProcessLookupError:
        continue
print((time.monotonic_ns() - begin) / 1e6)
"""


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    if os.geteuid() != 0:
        print("(not measured: only root can make a PID namespace)", end=" ")
        return []
    # With --exec the command itself is PID 1.
    contenders = [one for one in supervisors(directory) if one.name != BECOME]
    figure = Figure(
        "supervised-orphans",
        f"reaping {ORPHANS:,} orphans as PID 1",
        "ms",
        "in a PID namespace, from the end of the process that had forked them, when all become "
        "zombies of PID 1 at once, until none is left",
        {name: [] for name, _ in contenders},
    )
    for _ in range(1 if quick else 5):
        for name, words in random.sample(contenders, len(contenders)):
            result = subprocess.run(
                [
                    *["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
                    *[*words, sys.executable, "-I", "-c", COMMAND],
                ],
                env=environment(),
                stdout=subprocess.PIPE,
                check=True,
                timeout=120,
            )
            figure.add(name, float(result.stdout))
    return [figure]
