"""A Celery application for the tests: its leader notes its life."""

from __future__ import annotations

import os

from celery import Celery

from leaderlock.integrations.celery import in_one_worker
from tests.integrations.served import lead, note

app = Celery("tests", broker="filesystem://")
folder = os.path.join(os.path.dirname(os.environ["NOTES"]), "broker")
os.makedirs(folder, exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": folder,
    "data_folder_out": folder,
    "control_folder": folder,
}
in_one_worker(lead, name="example", backoff=(0.05, 0.2))


@app.task  # type: ignore[untyped-decorator]
def work() -> None:
    """One of Celery's own tasks."""
    note("work")
