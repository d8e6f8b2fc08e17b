"""Counters in the text form that Prometheus reads. Prompts and texts are in none of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from inkfish.server.service import Service
    from inkfish.server.writing import Writing

__all__ = ["Metrics"]

FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All counters of one server."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.registry = CollectorRegistry(auto_describe=False)
        self.prompt_tokens = Counter(
            "inkfish_prompt_tokens", "Tokens of prompts that were served.", registry=self.registry
        )
        self.completion_tokens = Counter(
            "inkfish_completion_tokens", "Tokens that were written.", registry=self.registry
        )
        self.finished = Counter(
            "inkfish_texts", "Requests for texts that were served to their end.", registry=self.registry
        )
        self.first_token = Histogram(
            "inkfish_first_token_seconds",
            "From a request to its first token.",
            buckets=FIRST_TOKEN,
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield what is read off the models now."""
        running = GaugeMetricFamily("inkfish_running", "Sequences that are written.", labels=["model"])
        waiting = GaugeMetricFamily("inkfish_waiting", "Sequences that wait for a slot.", labels=["model"])
        load = GaugeMetricFamily("inkfish_requests_held", "Requests that have not ended.", labels=["model"])
        steps = GaugeMetricFamily("inkfish_steps", "Steps of the engine so far.", labels=["model"])
        for worker in list(self.service.models.workers.values()):
            name = Path(worker.model.name).name  # where a folder lies is nobody's business
            now, later = worker.sequences
            running.add_metric([name], now)
            waiting.add_metric([name], later)
            load.add_metric([name], worker.load)
            steps.add_metric([name], worker.steps)
        yield from (running, waiting, load, steps)

    def count(self, writing: Writing) -> None:
        """Count texts that were written."""
        self.finished.inc()
        self.prompt_tokens.inc(writing.prompt_tokens)
        self.completion_tokens.inc(writing.completion_tokens)
        if writing.first_token is not None:
            self.first_token.observe(writing.first_token)

    def page(self) -> bytes:
        """Return everything as text."""
        return generate_latest(self.registry)
