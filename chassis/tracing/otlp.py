"""The exporter for a collector's address; its libraries are imported only where one is configured."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from chassis.address import Address
from chassis.component import StartError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_TRACES_PATH = "/v1/traces"
# RFC 3986, section 3.4: what stands in a query as it is, beside letters, digits and `-._~`.
_PLAIN_IN_QUERY = "!$&'()*+,;=:@/?"
_ENCODED = re.compile("(%[0-9A-Fa-f]{2})")
_LEFT_OUT = dict.fromkeys(map(ord, "\t\r\n"))  # by whatever reads a URL


def otlp_exporter(endpoint: str, mode: Literal["grpc", "http"], *, insecure: bool) -> SpanExporter:
    """Make what sends spans to `endpoint`, as OTLP over gRPC or over HTTP.

    The scheme of a URL decides about TLS; without one, `insecure` does (OpenTelemetry Protocol Exporter, 1.40).
    Raises StartError where OpenTelemetry refuses the address or its own variables, and where it has two meanings.
    """
    if Address.of(endpoint).is_ambiguous:
        # One reader's password is the other's query: neither spans nor secrets may go where nobody meant them to.
        raise StartError(
            f"spans cannot be sent to {target_name(endpoint)}: its address has an @ behind a ? or #; "
            "write %3F and %23 for those of a password, or %40 for the @ of a query"
        )
    try:
        if mode == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            plain = is_plain(endpoint, insecure)
            # gRPC knows no credentials in an address: it would take them for a part of the name, and tell everybody.
            return GrpcExporter(endpoint=without_credentials(endpoint), insecure=plain, headers=credentials(endpoint))
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        # What speaks HTTP knows them, and tells them in its errors, in a spelling of its own.
        return HttpExporter(endpoint=http_url(endpoint, insecure), headers=credentials(endpoint))
    except ImportError as error:
        raise StartError(f"spans cannot be sent by {mode}: the exporter's package is missing ({error})") from error
    except Exception as error:
        raise StartError(f"spans cannot be sent to {target_name(endpoint)} by {mode}: {error}") from error


def is_plain(endpoint: str, insecure: bool) -> bool:
    """Whether the collector is spoken to without TLS.

    >>> is_plain("http://collector:4317", insecure=False), is_plain("https://collector:4317", insecure=True)
    (True, False)
    >>> is_plain("collector:4317", insecure=True)
    True
    """
    scheme = Address.of(endpoint).scheme
    return scheme == "http" if scheme in ("http", "https") else insecure


def http_url(endpoint: str, insecure: bool) -> str:
    """The URL that spans are posted to, without user and password; without a path it gets the one of OTLP.

    >>> http_url("collector:4318", insecure=True), http_url("https://u:s3cret@otel.example/in?key=1", insecure=False)
    ('http://collector:4318/v1/traces', 'https://otel.example/in?key=1')
    """
    scheme, user, *_ = Address.of(endpoint)
    bare = endpoint.replace(f"{user}@", "", 1) if user else endpoint
    url = urlsplit(bare if scheme else f"{'http' if insecure else 'https'}://{bare}")
    path = _TRACES_PATH if url.path in ("", "/") else url.path
    # A fragment is never sent. The query is given as it will be sent: libraries have nothing to change in it.
    return url._replace(path=path, query=_as_sent(url.query), fragment="").geturl()


def _as_sent(query: str) -> str:
    """A query as what speaks HTTP spells it, which is how its errors tell it.

    >>> _as_sent("key=s3c ret%2f%41[1]")
    'key=s3c%20ret%2FA%5B1%5D'
    """
    parts = _ENCODED.split(query.translate(_LEFT_OUT))  # plain, encoded, plain, ...
    parts[::2] = (quote(each, _PLAIN_IN_QUERY) for each in parts[::2])
    parts[1::2] = (quote(unquote_to_bytes(each), "") for each in parts[1::2])
    return "".join(parts)


def without_credentials(endpoint: str) -> str:
    """The address without user, password and query.

    >>> without_credentials("https://user:s3cret@otel.example:4317/?key=1"), without_credentials("collector:4317")
    ('https://otel.example:4317/', 'collector:4317')
    """
    scheme, _, place, _ = Address.of(endpoint)
    return f"{scheme}://{place}" if scheme else place


def credentials(endpoint: str) -> dict[str, str] | None:
    """The header for the user and password of an address (RFC 7617), as what speaks HTTP makes it; None without.

    >>> credentials("https://user:s3cret@otel.example:4317")
    {'authorization': 'Basic dXNlcjpzM2NyZXQ='}
    """
    user, _, password = Address.of(endpoint).credentials.partition(":")
    if not user and not password:
        return None
    return {"authorization": f"Basic {b64encode(f'{unquote(user)}:{unquote(password)}'.encode()).decode()}"}


def secrets_in(endpoint: str) -> list[str]:
    """What texts about an address may not have in them: its user, password and query, and that as it is sent.

    >>> secrets_in("https://user:s3cret@otel.example:4317/?key=a b"), secrets_in("collector:4317")
    (['user:s3cret', 's3cret', 'key=a b', 'key=a%20b'], [])
    """
    _, user, _, query = Address.of(endpoint)
    sent = _as_sent(query.partition("#")[0])
    return list(dict.fromkeys(each for each in (user, user.partition(":")[2], query, sent) if each))


def target_name(endpoint: str) -> str:
    """The address as it may be logged: host and port, without what else a URL can hold.

    >>> target_name("https://user:s3cret@otel.example:4318/v1/traces"), target_name("collector:4317?key=s3cret")
    ('otel.example:4318', 'collector:4317')
    """
    place = Address.of(endpoint).place
    return place.partition("/")[0] or place
