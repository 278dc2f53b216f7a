"""Whether an event loop runs in the calling thread, which a call that blocks would stop."""

from __future__ import annotations

import sys

from leaderlock.errors import BlocksEventLoop
from leaderlock.kernel.green import hub_here


def running_library() -> str | None:
    """``"asyncio"`` or ``"trio"``, if a loop of its kind (uvloop's too) runs in this thread.

    Nothing is imported here: the library of a loop that runs is imported.
    """
    asyncio = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)
    if running is not None and running() is not None:
        # Green threads share their thread with the loop: they may wait, by their hub.
        return "asyncio" if hub_here() is None else None
    trio = getattr(sys.modules.get("trio"), "lowlevel", None)
    in_trio_run = getattr(trio, "in_trio_run", None)
    if in_trio_run is not None and in_trio_run():
        return "trio"
    return None


def refuse_to_block(call: str, remedy: str) -> None:
    """Raise, if an event loop runs in this thread, which the call would block.

    Args:
        call: as it is written.
        remedy: what to write instead; ``{library}`` stands for the loop's.

    Raises:
        BlocksEventLoop: one does.
    """
    library = running_library()
    if library is not None:
        raise BlocksEventLoop(
            f"`{call}` would block the event loop of {library} that runs in this thread, and with it "
            f"everything that the process serves: {remedy.format(library=library)}"
        )
