from __future__ import annotations

import re
from typing import Final

OPENMETRICS: Final = "application/openmetrics-text"
PLAIN: Final = "text/plain"

_ESCAPINGS: Final = ("underscores", "dots", "values", "allow-utf-8")
_VERSION_1_OR_LATER: Final = re.compile(r"[1-9][0-9]{0,2}(\.[0-9]{1,3}){0,2}")
# Prometheus sends some 250 characters; what is read of others' is bounded, too.
_LONGEST: Final = 1024


def format_for(accept: str) -> str:
    """The format that a scraper gets for its header `Accept`, as the shortest header that asks for it.

    There are few of them, whatever scrapers make up: OpenMetrics and text in version 1.0.0, each with one of four ways
    to escape names, OpenMetrics as it is, and the text that everyone can read, which is `""`.

    >>> format_for("application/openmetrics-text;version=1.0.0;escaping=dots;q=0.6,text/plain;version=0.0.4;q=0.3")
    'application/openmetrics-text; version=1.0.0; escaping=dots'
    >>> format_for("text/html, */*")
    ''

    Source: content negotiation of Prometheus, https://prometheus.io/docs/instrumenting/content_negotiation/
    """
    if len(accept) > _LONGEST:
        return ""
    for offered in accept.split(","):
        media, *rest = (part.strip() for part in offered.split(";"))
        media = media.lower()
        if media not in (OPENMETRICS, PLAIN):
            continue
        parameters = dict(part.split("=", 1) for part in reversed(rest) if "=" in part)
        version = parameters.get("version", "")
        if _VERSION_1_OR_LATER.fullmatch(version):
            escaping = parameters.get("escaping")
            return f"{media}; version=1.0.0; escaping={escaping if escaping in _ESCAPINGS else _ESCAPINGS[0]}"
        if media == OPENMETRICS and not version:
            return OPENMETRICS
    return ""
