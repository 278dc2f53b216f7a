"""An election in an event loop: the task as a coroutine, and `async with election.lead()`."""
