from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.metrics.catalogue import CATALOGUE
from chassis.metrics.declaration import Instrument

_INTRODUCTION = """\
# Metrics

<!-- Made by `python -m chassis.metrics > docs/metrics.md` from chassis/metrics/catalogue.py. -->

Every metric that the chassis records. On the endpoint a name begins with the namespace: `metrics.namespace`, by default
the service's name with `_` for `-`. Service `cqar` has `cqar_grpc_calls_total`. Each series has the label `service`
besides those named here. The metrics of the process (`process_*`) and the interpreter (`python_*`) have their usual
names.

- `status_code` of RPCs and events is the code's name, `NOT_FOUND`; of HTTP requests it is the status, `404`.
- `method` of RPCs is the full path, `/cqc.services.v1.AssetRegistry/GetAsset`; of HTTP requests it is the verb.
- `path` is the route's template, `/assets/{id}`. Methods and paths that do not exist share the value `unknown`.
- A stream is one call, recorded at its end. `grpc.health.v1.Health/Watch` is not recorded: it ends, as CANCELLED, when
  its watcher goes.
- No instrument has more than 2,000 series: further label values are recorded in one series named `overflow`.
"""

_TITLES = {"grpc": "RPCs", "http": "HTTP", "event": "Events", "cache": "The cache", "db": "Database"}


def reference(catalogue: Sequence[Instrument[Any]] = CATALOGUE) -> str:
    """The page of the documentation that lists all instruments, in Markdown."""
    sections: dict[str, list[Instrument[Any]]] = {}
    for instrument in catalogue:
        title = _TITLES.get(instrument.name.partition("_")[0], "The service itself")
        sections.setdefault(title, []).append(instrument)
    parts = [_INTRODUCTION]
    for title, instruments in sections.items():
        parts.append(f"\n## {title}\n\n| name | kind | labels | what it says |\n|---|---|---|---|\n")
        parts.extend(_row(instrument) for instrument in instruments)
    parts.append("\n## Buckets\n\n")
    parts.extend(f"- {', '.join(names)}: {bounds}\n" for bounds, names in _by_buckets(catalogue).items())
    return "".join(parts)


def _row(instrument: Instrument[Any]) -> str:
    labels = ", ".join(f"`{label}`" for label in instrument.labels)
    return f"| `{instrument.name}` | {instrument.kind} | {labels} | {instrument.documentation} |\n"


def _by_buckets(catalogue: Sequence[Instrument[Any]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for instrument in catalogue:
        if instrument.buckets:
            bounds = " ".join(f"{bound:.15g}" for bound in instrument.buckets)
            grouped.setdefault(f"{bounds} ({instrument.unit})", []).append(f"`{instrument.name}`")
    return grouped
