"""URLs of elections in an engine: what they name, and what of them people may see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock.engines import Address, is_url
from leaderlock.engines.address import HIDDEN


def test_a_url_names_user_hosts_path_and_election() -> None:
    address = Address("postgresql://me:p%40ss@h1:5432,[::1]:6,h3/app?sslmode=require#health%20check")
    assert (address.scheme, address.user, address.password) == ("postgresql", "me", "p@ss")
    assert address.hosts == [("h1", 5432), ("::1", 6), ("h3", None)]
    assert (address.path, address.name) == ("/app", "health check")
    assert address.parameters == {"sslmode": "require"}


def test_people_see_no_password_and_no_secret_parameter() -> None:
    address = Address("redis://me:hunter2@h:6379/0?sslpassword=hunter3&timeout=2#beat")
    assert address.shown == f"redis://me:{HIDDEN}@h:6379/0?sslpassword={HIDDEN}&timeout=2#beat"
    assert "hunter" not in repr(address)
    assert address.hide("no hunter3 for hunter2") == f"no {HIDDEN} for {HIDDEN}"


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=9))
def test_no_part_of_a_password_is_shown(password: str) -> None:
    quoted = "".join(f"%{ord(c):02x}" for c in password)
    address = Address(f"etcd://user:{quoted}@host/app/health")
    assert address.password == password
    assert quoted not in address.shown
    assert password not in address.hide(f"cannot log in with {password}, or {address.url}")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("redis://", "names no host"),
        ("redis:///0#x", "names no host"),
        ("redis://h:port/0#x", "no host:port"),
        ("redis://h:99999/0#x", "no host:port"),
        ("redis://h:1:2/0#x", "no host:port"),
    ],
)
def test_a_url_without_hosts_is_refused(url: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Address(url)


@pytest.mark.parametrize(
    ("place", "answer"),
    [("redis://h", True), ("/run/x://y", False), ("a/b://c", False), ("x", False), (3, False)],
)
def test_a_path_is_no_url(place: object, answer: bool) -> None:
    assert is_url(place) is answer
