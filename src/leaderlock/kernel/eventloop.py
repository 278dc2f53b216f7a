"""Whether the calling thread runs an event loop, which a blocking call would stop."""

from __future__ import annotations

import sys

from leaderlock.errors import BlocksEventLoop
from leaderlock.kernel.green import hub_here


def running_library() -> str | None:
    """``"asyncio"`` or ``"trio"``, if a loop of that library (or of uvloop) runs in this thread.

    Nothing is imported here: a running loop has imported its library.
    """
    asyncio = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)
    if running is not None and running() is not None:
        # Green threads share a native thread with the loop, and may wait through their hub.
        return "asyncio" if hub_here() is None else None
    trio = getattr(sys.modules.get("trio"), "lowlevel", None)
    in_trio_run = getattr(trio, "in_trio_run", None)
    if in_trio_run is not None and in_trio_run():
        return "trio"
    return None


def refuse_to_block(call: str, remedy: str) -> None:
    """Raise if this thread runs an event loop, which the call would block.

    Args:
        call: the call, as the user writes it.
        remedy: the call to write instead; ``{library}`` stands for the loop's library.

    Raises:
        BlocksEventLoop: this thread runs a loop.
    """
    library = running_library()
    if library is not None:
        raise BlocksEventLoop(
            f"`{call}` would block the event loop of {library} that runs in this thread, and with it "
            f"everything that the process serves: {remedy.format(library=library)}"
        )
