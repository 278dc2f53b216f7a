"""A status page as WSGI and ASGI: the leader, the queue, the terms, the newest health report.

    application = leaderlock.web.wsgi(["/run/app/leader.lock"], health="/run/app/health.json")

The page only reads: every method other than GET and HEAD is refused. Each visitor sees command lines,
users and paths, and there is no password: serve the page only where every visitor may see these.
"""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.web.over_asgi import asgi
    from leaderlock.web.over_wsgi import wsgi

__all__ = ["asgi", "wsgi"]

# asyncio is only for ASGI.
__getattr__, __dir__ = face(__name__, {"asgi": "over_asgi", "wsgi": "over_wsgi"})
