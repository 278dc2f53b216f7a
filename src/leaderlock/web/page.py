"""The HTML page: it contains every fact, so that it works without a script."""

from __future__ import annotations

import json
import os
import time

from leaderlock.status.text import STATES, lines_about, lines_of_election
from leaderlock.web.facts import history_or_why_not
from leaderlock.web.markup import Markup, element, join
from leaderlock.web.tables import table_of
from leaderlock.web.terms import terms_of
from leaderlock.web.values import lines_of, tables_of
from leaderlock.wording import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from leaderlock.history.reading import History
    from leaderlock.status import HolderStatus, LockStatus, ProcessStatus
    from leaderlock.status.fleet import ElectionStatus
    from leaderlock.web.facts import Facts, Health

_WAITING = 50
"""The most waiting processes that are shown; of the others only the number is shown."""

_LONGEST_COMMAND = 400
"""The most characters of a command line."""

_LONGEST_VALUE = 2000
"""The most characters of a check's value."""


def page(facts: Facts) -> bytes:
    """The HTML document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", _title(facts)),
        element("link", rel="icon", href="icon.svg", type="image/svg+xml"),
        element("link", rel="stylesheet", href="style.css"),
        element("script", src="page.js", defer=True),
    )
    links = [
        element("li", element("a", name, href=name))
        for name in ("status.json", "history.json", "metrics", "healthz")
    ]
    body = element(
        "body",
        element(
            "header",
            element("h1", "Leader locks"),
            # The script writes the text: without a script, nothing is live.
            element("p", role="status", id="live"),
        ),
        _main(facts),
        element("footer", element("nav", element("ul", *links), aria_label="The same as data")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode("utf-8", "replace")


def _title(facts: Facts) -> str:
    good = facts.is_led() and (facts.health is None or facts.health.good)
    return f"{'' if good else '! '}Leader locks on {os.uname().nodename}"


def _main(facts: Facts) -> Markup:
    survey = facts.survey
    as_of = element("time", moment(facts.now), datetime=_iso(facts.now))
    parts = [element("p", f"On {os.uname().nodename}, as of ", as_of, ".", class_="faint")]
    parts += [element("p", error, class_="warning") for error in survey.errors]
    parts += [
        _election(election, history, number, facts.now)
        for number, (election, history) in enumerate(
            zip(survey.elections, facts.survey.histories, strict=True), 1
        )
    ]
    parts += [_lock(lock, number, facts.now) for number, lock in enumerate(survey.locks, 1)]
    if not survey.locks and not survey.elections and not survey.errors:
        parts.append(element("p", "There are no leaderlock locks that can be seen from here."))
    if survey.hidden is not None:
        parts.append(element("p", f"hidden: {survey.hidden}", class_="faint"))
    if facts.health is not None:
        parts.append(_health(facts.health))
    return element("main", *parts, id="facts")


def _election(status: ElectionStatus, history: History, number: int, now: float) -> Markup:
    leads = status.leader is not None
    badge = element("span", "led" if leads else "nobody leads", class_="good" if leads else "bad")
    # Without the rest of the lease, which the next renewal changes.
    lines = lines_of_election(status._replace(ends=None), now)
    return element(
        "section",
        element("h2", status.address, " ", badge, id=f"election-{number}"),
        *[element("p", line) for line in lines],
        element("h3", "Terms"),
        terms_of(history, f"election-{number}", now),
        aria_labelledby=f"election-{number}",
    )


def _lock(lock: LockStatus, number: int, now: float) -> Markup:
    holder = lock.holder
    badge = element("span", "led" if holder else "nobody leads", class_="good" if holder else "bad")
    # `lines_about` cuts a command line to a terminal's width.
    leader = "nobody" if holder is None else f"{holder.pid} {_command(holder)}"
    told = [("leader", leader), *[line for line in lines_about(lock, now) if line[0] != "leader"]]
    rows = [join([element("dt", label), element("dd", text)]) for label, text in told]
    warnings = [
        element("li", element("strong", warning.code), f": {warning.text}", class_="warning")
        for warning in lock.warnings
    ]
    parts = [
        element("h2", lock.path, " ", badge, id=f"lock-{number}"),
        element("ul", *warnings, class_="plain") if warnings else "",
        element("dl", *rows),
        element("p", f"hidden: {lock.hidden}", class_="faint") if lock.hidden is not None else "",
        element("h3", f"Waiting: {len(lock.waiting)}"),
        _queue(lock.waiting) if lock.waiting else "",
        element("h3", "Terms"),
        terms_of(history_or_why_not(lock), f"{number}", now),
    ]
    return element("section", *parts, aria_labelledby=f"lock-{number}")


def _queue(waiting: Sequence[ProcessStatus]) -> Markup:
    rows = [
        (
            str(place),
            str(process.pid),
            process.user or "?",
            process.container or "–",
            STATES.get(process.state or "", "?"),
            _command(process),
        )
        for place, process in enumerate(waiting[:_WAITING], 1)
    ]
    table = table_of(
        "Who waits, next first", ("next", "pid", "user", "container", "state", "command"), rows
    )
    more = len(waiting) - len(rows)
    return join([table, element("p", f"… and {more} more.") if more else ""])


def _command(process: HolderStatus | ProcessStatus) -> str:
    text = process.command or "(command line not visible)"
    return text if len(text) <= _LONGEST_COMMAND else f"{text[:_LONGEST_COMMAND]}…"


def _health(health: Health) -> Markup:
    status = health.report["status"] if health.report else "no report"
    kind = "bad" if not health.good else "good" if status == "ok" else "doubtful"
    parts = [
        element("h2", "Health ", element("span", status, class_=kind), id="health"),
        element("p", health.line, class_="" if health.good else "warning"),
        element("p", f"From {health.path}", class_="faint"),
    ]
    if health.report is not None:
        checks = health.report["checks"].items()
        rows = [_check(name, check, number) for number, (name, check) in enumerate(checks, 1)]
        headings = ("check", "status", "critical", "error", "value")
        parts.append(table_of("The checks", headings, rows))
    return element("section", *parts, aria_labelledby="health")


def _check(name: str, check: dict[str, Any], number: int) -> tuple[str, ...]:
    kinds = {"ok": "good", "degraded": "doubtful"}
    status = element("span", check["status"], class_=kinds.get(check["status"], "bad"))
    error = check.get("error")
    return (
        name,
        status,
        "yes" if check.get("critical") is True else "no",
        "" if error is None else str(error),
        _value_for_people(check.get("value"), number),
    )


def _value_for_people(value: object, number: int) -> Markup:
    """The value as lines and small tables, with its JSON in a part that can be opened."""
    raw = element(
        "details",
        element("summary", "JSON"),
        element("code", _value(value)),
        id=f"value-{number}",
    )
    lines = [element("li", line) for line in lines_of(value)]
    tables = [table_of(name, headings, rows) for name, headings, rows in tables_of(value)]
    return join([element("ul", *lines, class_="plain") if lines else "", *tables, raw])


def _value(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
