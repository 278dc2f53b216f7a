"""The commands that the machine leaves for a candidate."""

from __future__ import annotations

import enum


class Order(enum.IntEnum):
    """A command; its argument is a number of milliseconds."""

    FORK = 1
    EXEC = 2
    FORK_EXEC = 3
    EMFILE = 4
    CLOSERANGE = 5
    CANCEL = 6
    GREEN = 7
    RESIGN = 8
    QUIT = 9
