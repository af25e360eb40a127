"""The router's Prometheus metrics. Labels are names from our own short lists, never ids: their number stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.db.protocol import Database
from router.nodes import NodeTable

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 15, 60)


class Metrics:
    """Counters of one router, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Histogram(
            "cove_router_call_seconds", "Control-plane and registry calls.", ["method", "code"], registry=self.registry, buckets=_BUCKETS
        )
        self._proxied = Counter("cove_router_proxied_total", "Data-plane calls passed through.", ["kind"], registry=self.registry)
        self._snapshots = Counter("cove_router_snapshots_total", "What became of memory snapshots.", ["event"], registry=self.registry)
        self._proxied_bytes = Counter("cove_router_proxied_bytes_total", "Their bytes.", ["kind", "direction"], registry=self.registry)

    def count_call(self, method: str, code: str, seconds: float) -> None:
        """One call ended; ``method`` and ``code`` come from the contract."""
        self._calls.labels(method, code).observe(seconds)

    def count_proxied(self, kind: str) -> None:
        """A call of ``kind`` (grpc or http) was passed on."""
        self._proxied.labels(kind).inc()

    def count_snapshot(self, event: Literal["taken", "restored", "expired", "deleted", "removed"]) -> None:
        """``removed``: of a deleted or expired one nothing is left."""
        self._snapshots.labels(event).inc()

    def count_bytes(self, kind: str, direction: str, count: int) -> None:
        """``count`` bytes went ``up`` to a node or ``down`` from it."""
        self._proxied_bytes.labels(kind, direction).inc(count)

    def watch(self, nodes: NodeTable, db: Database) -> None:
        """Also show the state of these."""
        self.registry.register(_State(nodes, db))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _State(Collector):
    """Gauges that are read when asked for."""

    def __init__(self, nodes: NodeTable, db: Database) -> None:
        self._nodes, self._db = nodes, db

    def collect(self) -> Iterator[Metric]:
        counts = dict.fromkeys(("healthy", "draining", "unreachable"), 0)
        reserved = GaugeMetricFamily("cove_router_reserved", "Requests of sandboxes on reachable nodes.", labels=["resource"])
        capacity = GaugeMetricFamily("cove_router_capacity", "What reachable nodes have.", labels=["resource"])
        spares = GaugeMetricFamily("cove_router_spares", "Containers that reachable nodes have booted ahead.")
        starts = CounterMetricFamily(
            "cove_router_node_starts", "Sandboxes since the daemons of reachable nodes began, by whether one of those.", labels=["kind"]
        )
        cpu = memory = cpu_capacity = memory_capacity = ahead = warm = cold = 0
        for node in self._nodes.list_():
            health = self._nodes.health(node)
            counts[health] += 1
            if health != "unreachable":
                cpu, memory = cpu + node.reserved.cpu_millis, memory + node.reserved.memory_bytes
                cpu_capacity += node.record.capacity.cpu_millis
                memory_capacity += node.record.capacity.memory_bytes
                ahead, warm, cold = ahead + len(node.spares), warm + node.spares.starts.warm, cold + node.spares.starts.cold
        reserved.add_metric(["cpu_cores"], cpu / 1000)
        reserved.add_metric(["memory_bytes"], memory)
        capacity.add_metric(["cpu_cores"], cpu_capacity / 1000)
        capacity.add_metric(["memory_bytes"], memory_capacity)
        families = GaugeMetricFamily("cove_router_nodes", "Nodes by state.", labels=["state"])
        for state, count in counts.items():
            families.add_metric([state], count)
        spares.add_metric([], ahead)
        starts.add_metric(["warm"], warm)
        starts.add_metric(["cold"], cold)
        yield from (families, reserved, capacity, spares, starts)
        freeing = sum(node.freeing for node in self._nodes.reachable())
        yield GaugeMetricFamily("cove_router_freeing", "Ended sandboxes that reachable nodes are still removing.", value=freeing)
        yield GaugeMetricFamily("cove_router_pending_writes", "Database writes that wait.", value=self._db.pending_writes())
