"""The exporter for a collector's address; its libraries are imported only where one is configured."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote, urlsplit

from chassis.address import Address
from chassis.component import StartError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_TRACES_PATH = "/v1/traces"
# RFC 3986, section 3.2.1: what stands in a user and a password as it is, and the % of what does not.
_PLAIN_IN_USER = "!$&'()*+,;=:%"


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

        return HttpExporter(endpoint=http_url(endpoint, insecure))
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
    """The URL that spans are posted to; an address without a path gets the one of OTLP.

    >>> http_url("collector:4318", insecure=True), http_url("https://otel.example/in/v1/traces", insecure=False)
    ('http://collector:4318/v1/traces', 'https://otel.example/in/v1/traces')
    """
    scheme, user, *_ = Address.of(endpoint)
    url = endpoint if scheme else f"{'http' if insecure else 'https'}://{endpoint}"
    # With a / in it as it is, libraries would take half of a password for the port, and say so in their errors.
    url = url.replace(f"{user}@", f"{quote(user, safe=_PLAIN_IN_USER)}@", 1) if user else url
    return url.rstrip("/") + _TRACES_PATH if urlsplit(url).path in ("", "/") else url


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
    user = Address.of(endpoint).credentials
    return {"authorization": f"Basic {b64encode(unquote(user).encode()).decode()}"} if user else None


def secrets_in(endpoint: str) -> list[str]:
    """What texts about an address may not have in them: its user, password and query.

    >>> secrets_in("https://user:s3cret@otel.example:4317/?key=1"), secrets_in("collector:4317")
    (['user:s3cret', 's3cret', 'key=1'], [])
    """
    _, user, _, query = Address.of(endpoint)
    return [each for each in (user, user.partition(":")[2], query) if each]


def target_name(endpoint: str) -> str:
    """The address as it may be logged: host and port, without what else a URL can hold.

    >>> target_name("https://user:s3cret@otel.example:4318/v1/traces"), target_name("collector:4317?key=s3cret")
    ('otel.example:4318', 'collector:4317')
    """
    place = Address.of(endpoint).place
    return place.partition("/")[0] or place
