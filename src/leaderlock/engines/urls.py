"""Tells the URL of an engine from a path; apart, so that an election by a file imports no parser."""

from __future__ import annotations


def is_url(place: object) -> bool:
    """Whether a lock's place is the URL of an engine, and no path: ``scheme://…``."""
    if not isinstance(place, str):
        return False
    scheme, separator, _ = place.partition("://")
    return bool(separator) and scheme[:1].isalpha() and scheme.isascii() and scheme.isalnum()
