from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

from chassis.metrics.declaration import Instrument

# Prometheus' data model, "Metric names and labels"; colons are left to recording rules.
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NAMESPACE = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_RESERVED_LABELS = {"service": "every metric has it already", "le": "histograms name their buckets with it"}


def namespace_of(name: str) -> str:
    """What the names of a service's metrics begin with: its own name, with `_` for `-`.

    Raises ValueError where that is no name that Prometheus accepts.

    >>> namespace_of("asset-registry")
    'asset_registry'
    """
    namespace = name.replace("-", "_")
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"{name!r} cannot be a namespace of metrics: expected letters, digits, '_' and '-', and no digit first"
        )
    return namespace


def check(instrument: Instrument[Any]) -> None:
    """Raise ValueError, saying what is wrong and what is expected, where this cannot be declared."""
    name, kind = instrument.name, instrument.kind
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a metric: expected letters, digits and '_', and no digit first")
    if kind == "counter" and not (name.endswith("_total") and name != "_total"):
        raise ValueError(f"the counter {name!r} must end with '_total': {name}_total")
    if kind != "counter" and name.endswith("_total"):
        raise ValueError(f"the {kind} {name!r} ends with '_total', which says that it is a counter")
    if kind == "histogram":
        _check_buckets(instrument)
    for label in instrument.labels:
        if not _NAME.fullmatch(label) or label.startswith("__"):
            raise ValueError(
                f"{name!r} cannot have the label {label!r}: expected letters, digits and '_', "
                "no digit first, and not two underscores"
            )
        if (reason := _RESERVED_LABELS.get(label)) is not None:
            raise ValueError(f"{name!r} cannot have a label {label!r} of its own: {reason}")
    if len(set(instrument.labels)) != len(instrument.labels):
        raise ValueError(f"{name!r} has a label twice: {', '.join(instrument.labels)}")


def _check_buckets(instrument: Instrument[Any]) -> None:
    bounds = instrument.buckets
    if not bounds or not all(math.isfinite(bound) for bound in bounds):
        raise ValueError(f"the histogram {instrument.name!r} needs finite bounds of buckets, at least one")
    if any(low >= high for low, high in pairwise(bounds)):
        raise ValueError(f"the bounds of the buckets of {instrument.name!r} must rise: {list(bounds)}")
