"""A Flask application, one of whose workers reports: gunicorn -w 4 flask_app:app, or flask run."""

import os

from flask import Flask

from leaderlock import Leadership
from leaderlock.integrations.flask import Leader

app = Flask(__name__)
leader = Leader(app)


@leader.task(name="example")
def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


app.add_url_rule("/", view_func=lambda: str(os.getpid()))
