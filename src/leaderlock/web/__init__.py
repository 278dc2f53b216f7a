"""A status page: who leads, who waits, the terms, the newest health report; as WSGI and as ASGI.

    application = leaderlock.web.wsgi(["/run/app/leader.lock"], health="/run/app/health.json")

It reads and shows, and changes nothing: everything but GET and HEAD is refused. Whoever can reach it
sees command lines, users and paths, so keep it where only those come who may; it knows no passwords.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.web.over_asgi import asgi
    from leaderlock.web.over_wsgi import wsgi

__all__ = ["asgi", "wsgi"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  (asyncio is for those alone who serve by ASGI)

    return getattr(importlib.import_module(f"{__name__}.over_{name}"), name)
