from collections.abc import Sequence

def start(first: Sequence[int] = ..., niceness: int = 10) -> int:
    """Make the keeper of this process, unless it has one, and wait until it is confined.

    Args:
        first: descriptors of locks: if the keeper's maker must close descriptors, these come first.
        niceness: the keeper's niceness, unless this process has a higher one.

    Returns:
        The keeper's process ID.

    Raises:
        OSError: the keeper cannot be made here; the text names the step. Nothing is left behind.
    """

def pid() -> int:
    """The process ID of this process's keeper; 0 without one, and in a forked child."""

def stop() -> bool:
    """End the keeper of this process; return whether there is none any more.

    Before an exec, this leaves the new program no child that has ended and that it cannot reap.
    """

def forget() -> None:
    """In a forked child: close what was inherited of the parent's keeper. No effect elsewhere."""
