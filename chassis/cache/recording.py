"""What a cache counts: by entity, which is the first part of the key, and by operation."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from chassis.cache.key import entity_of
from chassis.metrics import Metrics
from chassis.metrics.catalogue import (
    CACHE_DELETE_ERRORS,
    CACHE_GET_ERRORS,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_OPERATION_DURATION,
    CACHE_SET_ERRORS,
    CACHE_SKIPS,
    CACHE_UNDECODABLE,
    UNKNOWN,
)
from chassis.metrics.instruments import OVERFLOW

Operation = Literal["get", "set", "delete", "exists"]

OPERATIONS: Final[tuple[Operation, ...]] = ("get", "set", "delete", "exists")


class EntitySeries:
    """The counters of one entity."""

    __slots__ = ("delete_errors", "entity", "get_errors", "hits", "misses", "set_errors", "skips", "undecodable")

    def __init__(self, metrics: Metrics, entity: str) -> None:
        self.entity = entity
        self.hits = metrics.get(CACHE_HITS).labels(entity)
        self.misses = metrics.get(CACHE_MISSES).labels(entity)
        self.undecodable = metrics.get(CACHE_UNDECODABLE).labels(entity)
        self.get_errors = metrics.get(CACHE_GET_ERRORS).labels(entity)
        self.set_errors = metrics.get(CACHE_SET_ERRORS).labels(entity)
        self.delete_errors = metrics.get(CACHE_DELETE_ERRORS).labels(entity)
        self.skips = metrics.get(CACHE_SKIPS).labels(entity)


class Recording:
    """The counters of all entities; those beyond the first `MAX_ENTITIES` share one series, `overflow`."""

    MAX_ENTITIES: ClassVar[int] = 100

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._entities: dict[str, EntitySeries] = {}
        durations = metrics.get(CACHE_OPERATION_DURATION)
        self.durations = {operation: durations.labels(operation) for operation in OPERATIONS}

    def of(self, key: str) -> EntitySeries:
        """The counters of the entity that a key is for; a key of one part alone counts for `unknown`."""
        entity = entity_of(key) or UNKNOWN
        return self._entities.get(entity) or self._add(entity)

    def _add(self, entity: str) -> EntitySeries:
        if len(self._entities) >= self.MAX_ENTITIES:
            # Keys may be made of what callers send: a label must not be.
            entity = OVERFLOW
            if entity in self._entities:
                return self._entities[entity]
        series = self._entities[entity] = EntitySeries(self._metrics, entity)
        return series
