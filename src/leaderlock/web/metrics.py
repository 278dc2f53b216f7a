"""The facts for Prometheus, in its text format."""

from __future__ import annotations

from leaderlock.errors import Unsupported
from leaderlock.history.reading import History
from leaderlock.web.facts import history_or_why_not
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from leaderlock.web.facts import Facts


def metrics(facts: Facts) -> tuple[str, bytes]:
    """The content type, and the text.

    Raises:
        Unsupported: prometheus-client is not installed.
    """
    try:
        # An extra: 9 MB, needed only for the metrics. None of it was imported before, so another
        # version that was installed meanwhile works as well.
        from prometheus_client import CollectorRegistry  # noqa: PLC0415
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415
    except ImportError as error:
        raise Unsupported(
            "/metrics needs prometheus-client: run `pip install 'leaderlock[prometheus]'`"
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(facts))
    return CONTENT_TYPE_LATEST, generate_latest(registry)


def import_for_health() -> None:
    """Import the modules for a health report's metrics, before anything is served."""
    import leaderlock.health.sinks  # noqa: F401, PLC0415  (only with a report)


class _Collector:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def describe(self) -> list[Metric]:
        """Nothing: the metrics depend on the locks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield from _of_locks(self._facts)
        if self._facts.health is not None:
            yield from _of_health(self._facts)


def _of_locks(facts: Facts) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"leaderlock_lock_{name}", text, labels=["lock"])

    led = gauge("led", "Whether somebody leads.")
    waiters = gauge("waiters", "Processes in the queue.")
    warnings = gauge("warnings", "What leaderlock status warns of.")
    term = gauge("term", "The newest term.")
    leaderless = gauge(
        "leaderless_seconds", "Since the last leader was last seen; 0 while somebody leads."
    )
    failovers = CounterMetricFamily(
        "leaderlock_lock_failovers", "Elections after the first one of the lock.", labels=["lock"]
    )
    for lock in facts.survey.locks:
        label = [printable(lock.path)]
        led.add_metric(label, lock.holder is not None)
        waiters.add_metric(label, len(lock.waiting))
        warnings.add_metric(label, len(lock.warnings))
        history = history_or_why_not(lock)
        newest = history.terms[-1] if isinstance(history, History) and history.terms else None
        if newest is not None:
            term.add_metric(label, newest.term)
            failovers.add_metric(label, newest.term - 1)
        if lock.holder is not None:
            leaderless.add_metric(label, 0)
        elif newest is not None:
            leaderless.add_metric(label, max(facts.now - newest.last_sign, 0))
    for election, history in zip(facts.survey.elections, facts.survey.histories, strict=True):
        label = [printable(election.address)]
        led.add_metric(label, election.leader is not None)
        term.add_metric(label, election.term)
        if election.waiting is not None:
            waiters.add_metric(label, election.waiting)
        newest = history.terms[-1] if history.terms else None
        if election.leader is not None:
            leaderless.add_metric(label, 0)
        elif newest is not None and newest.until is not None:  # by the clock of the last leader
            leaderless.add_metric(label, max(facts.now - newest.until, 0))
    yield from (led, waiters, warnings, term, leaderless, failovers)
    errors = len(facts.survey.errors)
    yield GaugeMetricFamily("leaderlock_unreadable_locks", "Named, and not to be read.", value=errors)


def _of_health(facts: Facts) -> Iterator[Metric]:
    """Whether the report is good, and the metrics of the reporter's own sink."""
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    from leaderlock.health.sinks import prometheus_collector  # noqa: PLC0415  (`import_for_health`)

    assert facts.health is not None
    good = facts.health.good
    yield GaugeMetricFamily(
        "leaderlock_health_good", "Whether the report is new, and good.", value=good
    )
    if facts.health.report is not None:
        collector = prometheus_collector()
        collector(facts.health.report)
        try:
            found = list(collector.collect())
        except (KeyError, TypeError, ValueError, AttributeError):  # a part of the report is malformed
            return
        yield from found
