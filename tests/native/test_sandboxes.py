"""Under a seccomp filter: a keeper is made or refused, and its leader lives on."""

from __future__ import annotations

import errno
import os

import pytest

from tests.native.kept import CAN_HAVE_KEEPERS, keepers_of
from tests.native.sandbox import CALLS, ERRNO, KILL, as_docker, install, with_result
from tests.processes import forked

pytestmark = pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64")


def start_under(program: bytes) -> str:
    """What `start` says under a filter, in a forked process; "" if it makes a keeper."""
    import leaderlock_native as native

    reader, writer = os.pipe()

    def child() -> bool:
        os.close(reader)
        install(program)
        try:
            native.start()
        except OSError as error:
            os.write(writer, str(error).encode())
        else:
            assert keepers_of(os.getpid()) == [native.pid()]
            assert native.stop()
        return keepers_of(os.getpid()) == []

    status = forked(child)
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    assert status == 0, (status, said)
    return said


@pytest.mark.parametrize(
    "name", ["memfd_create", "close_range", "pidfd_open", "setpgid", "setpriority", "ppoll"]
)
def test_a_sandbox_that_would_kill_refuses_and_the_leader_lives_on(name: str) -> None:
    said = start_under(with_result([CALLS[name]], KILL))
    assert "sandbox" in said or "the keeper was killed" in said


@pytest.mark.parametrize("name", ["memfd_create", "close_range", "pidfd_open", "setpgid", "prlimit64"])
def test_a_sandbox_that_answers_with_an_error_refuses_and_the_call_is_named(name: str) -> None:
    said = start_under(with_result([CALLS[name]], ERRNO | errno.EPERM))
    assert name.removesuffix("64") in said


def test_docker_s_default_profile_allows_a_keeper() -> None:
    assert start_under(as_docker()) == ""


def test_a_filter_that_allows_everything_allows_a_keeper() -> None:
    assert start_under(with_result([], KILL)) == ""
