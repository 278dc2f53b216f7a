"""An object store that refuses a leader whose term is over: by conditional writes.

    python fencing_object_store.py postgresql://app@db/app#report http://store.example/reports/latest

Start it on several machines. The store must know If-Match and If-None-Match (RFC 9110), as S3 and Azure
Blob Storage do; Google Cloud Storage has x-goog-if-generation-match for the same. Your store's client
signs the requests, which this example leaves out. docs/explanation/fencing.md says why the terms are
compared.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus

from leaderlock import Election, Leadership

TIMEOUT = 5.0


class TermIsOver(Exception):
    """Another process leads by now."""


class Report:
    """An object, with the term of the leader that has written it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, value: str, term: int) -> None:
        while True:
            version, greatest = self._read()
            if greatest > term:
                raise TermIsOver(f"the object is of term {greatest}, this leader of term {term}")
            if self._write_over(version, json.dumps({"value": value, "term": term}).encode()):
                return
            # Another leader has written meanwhile: its term decides.

    def _read(self) -> tuple[str | None, int]:
        """The version of the object, and the term in it; None and 0 if there is no object yet."""
        try:
            with urllib.request.urlopen(self._url, timeout=TIMEOUT) as answer:
                return answer.headers["ETag"], int(json.load(answer)["term"])
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.NOT_FOUND:
                    return None, 0
                raise

    def _write_over(self, version: str | None, body: bytes) -> bool:
        """Replace the version that was read; False if the object is of another one by now."""
        condition = {"If-None-Match": "*"} if version is None else {"If-Match": version}
        request = urllib.request.Request(self._url, body, condition, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                return True
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.PRECONDITION_FAILED:
                    return False
                raise


def task(leadership: Leadership) -> None:
    report = Report(sys.argv[2])
    for _ in leadership.every(1):
        # If this raises TermIsOver, the task ends, and this process stands for election again.
        report.write(time.strftime("%H:%M:%S"), leadership.term)


if __name__ == "__main__":
    Election(sys.argv[1], lease=10).run(task)
