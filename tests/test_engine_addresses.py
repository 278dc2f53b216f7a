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


def test_a_secret_is_hidden_as_the_url_has_it_too() -> None:
    url = "redis://me:zz%40top@h/0?ssl_password=a+b%2Fc&timeout=2"
    address = Address(url)
    assert (address.password, address.parameters["ssl_password"]) == ("zz@top", "a b/c")
    said = f"{url}: zz%40top, zz@top; a+b%2Fc, a b/c; 2"
    assert address.hide(said) == f"{address.shown}: {HIDDEN}, {HIDDEN}; {HIDDEN}, {HIDDEN}; 2"


def test_of_secrets_that_hold_each_other_nothing_is_left() -> None:
    address = Address("redis://me:sesame@h/0?ssl_password=sesame-open")
    assert address.hide("sesame-open sesame") == f"{HIDDEN} {HIDDEN}"


def test_without_secrets_nothing_is_hidden() -> None:
    address = Address("redis://h/0?password=&empty=&x=1")
    assert address.parameters == {"password": "", "empty": "", "x": "1"}
    assert address.hide("a text") == "a text"


def test_ports_end_at_65535() -> None:
    assert Address("etcd://h:65535/x").hosts == [("h", 65535)]
    assert Address("etcd://h:0/x").hosts == [("h", 0)]
    with pytest.raises(ValueError, match="no host:port"):
        Address("etcd://h:65536/x")


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
