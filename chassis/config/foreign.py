"""Keys of the Go sibling that have no meaning here, each with the reason and with what to do instead.

They are refused: a key that is quietly ignored is believed to work.
"""

from __future__ import annotations

from typing import Final

_REASONS: Final = {
    "server.read_timeout": "calls end at the deadline that their caller set; leave it out",
    "server.write_timeout": "calls end at the deadline that their caller set; leave it out",
    "server.max_header_bytes": "use server.max_metadata_bytes, which bounds gRPC metadata and HTTP headers",
    "cache.read_timeout": "use cache.timeout, which bounds a whole operation",
    "cache.write_timeout": "use cache.timeout, which bounds a whole operation",
    "metrics.port": "metrics are served on server.http_port, beside health; leave it out",
    "registry": "service discovery is not part of this version; give clients the address of what they call",
    "runner": "restarts are left to what runs the service (Kubernetes, systemd); set its restart policy",
    "http_client": "HTTP clients are the service's own; put what it needs to know of them under settings",
    "websocket": "WebSocket clients are the service's own; put what it needs to know of them under settings",
    "cache_ttl": "lifetimes of entries are the service's own; put them under settings",
    "bootstrap": "it belongs to another service's loader; put what this service needs under settings",
}

_OTHER_WORDS: Final = {
    "bus": "eventbus",
    "db": "database",
    "grpc": "server",
    "http": "server",
    "logging": "log",
    "nats": "eventbus",
    "postgres": "database",
    "redis": "cache",
}


def reason_against(key: str) -> str | None:
    """Give the reason why a key of the Go sibling is refused, or None if it is no such key.

    >>> reason_against("metrics.port")
    'metrics are served on server.http_port, beside health; leave it out'
    >>> reason_against("metrics.path")
    """
    return _REASONS.get(key) or _REASONS.get(key.partition(".")[0])


def section_called(word: str) -> str | None:
    """Give the section that some call by this word.

    >>> section_called("bus")
    'eventbus'
    """
    return _OTHER_WORDS.get(word.lower())


def reason_against_variable(suffix: str) -> str | None:
    """Give the same for what follows the prefix in the name of an environment variable.

    >>> reason_against_variable("METRICS_PORT")
    'metrics are served on server.http_port, beside health; leave it out'
    """
    for key, reason in _REASONS.items():
        variable = key.replace(".", "_").upper()
        if suffix == variable or ("." not in key and suffix.startswith(f"{variable}_")):
            return reason
    return None
