"""Where a candidate waits, and where its task runs: in a thread, in a hub, or in an event loop.

One interface, `runner.Runner`, and three runners: `native`, `green` and `loop`. The wait for an
election blocks, so it needs a native thread. The task runs where the process's other work runs: in a
native thread; or, where gevent or eventlet has patched `threading`, as a green thread of the hub, since
all threads that the task starts are green as well, and the same hub runs them; or as a coroutine.
"""
