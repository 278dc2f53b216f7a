"""A block of code that leads in an engine, without an election's task: for work that ends."""

from __future__ import annotations

import contextlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.tenure import LeasedTenure


@contextlib.contextmanager
def holding(engine: LeasedEngine) -> Iterator[LeasedTenure]:
    """Wait until this process leads, and lead for the time of the block.

    The kernel kills the process if the engine may have dropped it before the block has ended.

    Raises:
        EngineUnusable: the engine refuses.
        Unsupported: the kernel cannot kill this process.
        LeadershipLost: at the end of the block: the term had ended before.
    """
    tenure = engine.tenure()
    how = "failed"
    try:
        tenure.stand(None)
        yield tenure
        tenure.check()
        how = "resigned"
    finally:
        tenure.record_end(how)
        tenure.finish()
