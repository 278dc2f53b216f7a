"""A prefork server of eventlet's own WSGI, with three workers: python eventlet_server.py PORT."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in range(3):
    if os.fork() == 0:
        warnings.simplefilter("ignore")
        import eventlet

        eventlet.monkey_patch()
        import eventlet.wsgi
        from eventlet.greenio import GreenSocket

        from tests.integrations.green_site import app

        def stop(*_: object) -> None:
            sys.exit(0)

        signal.signal(signal.SIGTERM, stop)
        eventlet.wsgi.server(GreenSocket(listener), app, log_output=False)
        os._exit(0)
signal.sigwait([signal.SIGTERM])
