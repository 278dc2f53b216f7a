"""pytest-xdist: one worker does the costly work of a session fixture, and all get its result.

    # conftest.py, the top one
    import pytest
    from leaderlock.integrations.pytest import once_per_run

    pytest_plugins = ["leaderlock.integrations.pytest"]

    @pytest.fixture(scope="session")
    @once_per_run(teardown=drop_database)
    def database():
        return create_database()  # anything that JSON can hold

The kernel counts the workers: each holds a shared lock from its start to its end, also if it crashes.
A worker that can convert its lock to an exclusive one is the last.

(PYTEST_DONT_REWRITE: this file asserts nothing, and a conftest imports this file before pytest does.)
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, overload

import pytest

from leaderlock.election.task import refuse_coroutine
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.lock.naming import function_name
from leaderlock.once.completed import call_once
from leaderlock.once.outcomes import Outcomes, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ParamSpec, TypeVar

    from xdist.workermanage import WorkerController

    P = ParamSpec("P")
    R = TypeVar("R")

_FROM_CONTROLLER = "leaderlock_directory"


@overload
def once_per_run(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def once_per_run(
    *, teardown: Callable[[R], object] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def once_per_run(function: Any = None, /, *, teardown: Callable[[Any], object] | None = None) -> Any:
    """Let one worker of a test run call the function; all of them get its result.

    Write it below ``@pytest.fixture(scope="session")``; the function may ask for other fixtures.
    The first worker that needs the fixture calls the function; the others wait without polling. If the
    function raises, that worker's tests get the error, and the next worker calls the function; the same
    if that worker dies. The function is called once for each parameter of a parametrised fixture.
    Without xdist, or with ``-n 0``, the single process follows the same rules. Every process, including
    the calling one, gets the result as JSON returns it: a tuple becomes a list.

    Args:
        teardown: called with the result by the last worker to finish, when the fixtures of all workers
            are torn down; usually in another process than the function. Several results are torn down
            in reverse order. If the last worker is killed before that, `teardown` is never called.

    Raises, when it decorates:
        TypeError: the decorated object is no function, or is a generator or coroutine function.
    Raises, in the tests:
        TypeError: JSON cannot hold the result.
        pytest.UsageError: the fixture's scope is not the session, or the plugin is not loaded.
    """
    if function is None:
        return lambda function: _Once(function, teardown).fixture()
    return _Once(function, teardown).fixture()


class _Once:
    """A decorated function: all workers identify it by its name and place."""

    def __init__(
        self, function: Callable[..., object], teardown: Callable[[Any], object] | None
    ) -> None:
        if not (inspect.isfunction(function) or inspect.ismethod(function)):
            raise TypeError(
                f"once_per_run decorates a function, and stands below @pytest.fixture, not above it: "
                f"{function!r}"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} yields, but what follows the yield would have to run in "
                f"another process, in the last worker: return the result, and give teardown="
            )
        refuse_coroutine(function)
        if teardown is not None and not callable(teardown):
            raise TypeError(f"teardown must be a function of the result, not {teardown!r}")
        self.function = function
        self.teardown = teardown
        line = getattr(getattr(function, "__code__", None), "co_firstlineno", 0)
        self.name = f"{function_name(function)}-{line}"
        _known[self.name] = self

    def fixture(self) -> Callable[..., object]:
        """The function for pytest: with `request` in its signature, even if the original lacks it."""
        signature = inspect.signature(self.function)
        asks = "request" in signature.parameters

        @functools.wraps(self.function)
        def fixture(*args: Any, request: pytest.FixtureRequest, **fixtures: Any) -> object:
            if request.scope != "session":
                raise pytest.UsageError(
                    f"{self.function.__qualname__} is called once per run, so its fixture needs "
                    f"scope='session', not {request.scope!r}"
                )
            if asks:
                fixtures["request"] = request
            call = functools.partial(self.function, *args, **fixtures)
            return _run_of(request.config).call(self, getattr(request, "param_index", 0), call)

        if not asks:
            own = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY)
            signature = signature.replace(parameters=[*signature.parameters.values(), own])
        fixture.__signature__ = signature  # type: ignore[attr-defined]
        return fixture


_known: dict[str, _Once] = {}


class _Run:
    """One run of the tests, as seen by one of its processes.

    Args:
        directory: made by the controller; None if there is no controller, or on another machine.
    """

    def __init__(self, directory: str | None) -> None:
        self._given = directory
        self._share: Descriptor | None = None

    @functools.cached_property
    def directory(self) -> str:
        """The directory of this run's locks and results; private to this user."""
        return self._given or tempfile.mkdtemp(prefix="leaderlock-pytest-")

    def call(self, once: _Once, key: int, call: Callable[[], object]) -> object:
        """The result of the function, which is called if no process has done so yet."""
        self.take_part()

        def checked() -> object:
            result = call()
            encode(result, f"the result of {once.function.__qualname__}, under once_per_run,")
            return result

        return call_once(key=key, path=self._path(once))(checked)()

    def _path(self, once: _Once) -> str:
        return os.path.join(self.directory, f"{once.name}.lock")

    def take_part(self) -> None:
        """Count this process as working, until `leave` or its end."""
        if self._share is None:
            import fcntl  # noqa: PLC0415  (Windows has none)

            path = os.path.join(self.directory, "workers")
            self._share = Descriptor(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._share.fd, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Stop counting this process; the last one tears down."""
        share, self._share = self._share, None
        if share is None:
            return
        import fcntl  # noqa: PLC0415  (Windows has none)

        try:
            # flock(2) drops the shared lock first, even if it does not get the exclusive one: if two
            # processes leave at the same time, one is the last.
            fcntl.flock(share.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._tear_down()
        except BlockingIOError:
            return
        finally:
            share.close()

    def _tear_down(self) -> None:
        made = []
        for once in _known.values():
            if once.teardown is not None:
                outcomes = Outcomes(self._path(once)).read()
                made += [
                    (outcome["at"], once.teardown, outcome["result"]) for outcome in outcomes.values()
                ]
                if outcomes:  # a worker that replaces a crashed one makes it again
                    os.unlink(f"{self._path(once)}.outcomes.json")
        made.sort(key=lambda one: one[0])
        _call_backwards([functools.partial(teardown, result) for _, teardown, result in made])

    def end(self) -> None:
        """Remove the directory if this process made it."""
        if self._given is None and "directory" in self.__dict__:
            shutil.rmtree(self.directory, ignore_errors=True)


def _call_backwards(calls: list[Callable[[], object]]) -> None:
    """Call all from last to first, even if one raises: its error is the context of the next error."""
    if calls:
        try:
            calls.pop()()
        finally:
            _call_backwards(calls)


_KEY = pytest.StashKey[_Run]()


def _run_of(config: pytest.Config) -> _Run:
    run = config.stash.get(_KEY, None)
    if run is None:
        raise pytest.UsageError(
            f"once_per_run needs its plugin: add pytest_plugins = [{__name__!r}] to the top "
            f"conftest.py, or -p {__name__} to the options"
        )
    return run


def pytest_configure(config: pytest.Config) -> None:
    """Make this process take part in the run."""
    told: dict[str, str] | None = getattr(config, "workerinput", None)
    run = config.stash[_KEY] = _Run((told or {}).get(_FROM_CONTROLLER))
    if told is not None:
        # Before any worker's first test: no worker is the last while another has yet to begin.
        run.take_part()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Send the run's directory to a worker of xdist, if the worker is on this machine."""
    if node.gateway.spec.popen:
        node.workerinput[_FROM_CONTROLLER] = _run_of(node.config).directory


@pytest.fixture(scope="session", autouse=True)
def _leave_leaderlock_run(request: pytest.FixtureRequest) -> Iterator[None]:
    # Automatic: the first to be set up and the last to be torn down. A fixture, so that an exception
    # from a teardown is an error of the run.
    yield
    _run_of(request.config).leave()


@pytest.hookimpl(trylast=True)  # `-x` tears fixtures down in pytest's own hook
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker without tests leave the run."""
    run = session.config.stash.get(_KEY, None)
    if run is not None:
        run.leave()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the files of the run."""
    run = config.stash.get(_KEY, None)
    if run is not None:
        run.end()
