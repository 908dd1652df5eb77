"""Numbers about the requests, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

PATHS = ("/score", "/sample", "/given", "/impute", "/explain", "/schema", "/metrics", "/openapi.json")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts of one server.

    Args:
        waiting: how many requests wait.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pushforward_requests", "Requests that were answered.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "pushforward_request_seconds", "Time to the answer.", ["path"], buckets=SECONDS, registry=self._registry
        )
        self._rows = Counter("pushforward_rows", "Rows of requests and answers.", ["path"], registry=self._registry)
        Gauge("pushforward_waiting", "Requests that wait for the model.", registry=self._registry).set_function(waiting)

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count an answer; paths that do not exist count as one."""
        shown = path if path in PATHS else "other"
        self._requests.labels(shown, str(status)).inc()
        if status == 200:
            self._seconds.labels(shown).observe(seconds)

    def count_rows(self, name: str, rows: int) -> None:
        """Count rows of an answer."""
        self._rows.labels(f"/{name}").inc(rows)

    def text(self) -> tuple[bytes, str]:
        """All of it in the text format of Prometheus, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
