"""Run a measurement in a process of its own, so that each one's workers are forked from a small parent.

The larger a process, the longer the kernel takes to end it, and whoever waits for its lock with it.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def apart(function: Callable[[], Result]) -> Result:
    """What a function returns when it is called in a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            with open(writer, "wb") as answer:
                answer.write(pickle.dumps(function()))
            os._exit(0)
        except BaseException:  # noqa: BLE001  (told here, and to the parent by the status)
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as answer:
        data = answer.read()
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise RuntimeError("a measurement failed in its process")
    result: Result = pickle.loads(data)
    return result
