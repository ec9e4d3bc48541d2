from __future__ import annotations

import re
from typing import NamedTuple

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_QUERY = re.compile(r"[?#]")


def host_port(host: str, port: int) -> str:
    """A host and a port in one text, as RFC 3986 writes them: addresses of IPv6 stand in brackets.

    >>> host_port("127.0.0.1", 9000), host_port("::1", 9000)
    ('127.0.0.1:9000', '[::1]:9000')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Address(NamedTuple):
    """An address taken apart, so that what may be shown of it does not depend on who shows it.

    >>> Address.of("https://user:s3cret@otel.example:4317/in?key=1")
    Address(scheme='https', credentials='user:s3cret', place='otel.example:4317/in', query='key=1')
    >>> Address.of("collector:4317").place
    'collector:4317'
    """

    scheme: str
    credentials: str
    place: str  # host, port and path: all that may be shown
    query: str  # and fragment

    @classmethod
    def of(cls, text: str) -> Address:
        """Take an address apart, also one that no standard allows."""
        match = _SCHEME.match(text)
        scheme, rest = (match[1], text[match.end() :]) if match else ("", text)
        # A password that nobody encoded may have any character in it, `/`, `?` and `#` too: all up to the last @ is
        # credentials. Where that is wrong, too little is shown and not too much.
        credentials, _, rest = rest.rpartition("@")
        place, query = (*_QUERY.split(rest, maxsplit=1), "")[:2]
        return cls(scheme, credentials, place, query)

    @property
    def is_ambiguous(self) -> bool:
        """Whether the @ may be one of the query: a standard's reader finds another host than is found here.

        >>> Address.of("http://host/?mail=a@b").is_ambiguous, Address.of("http://a:b@host/?mail=1").is_ambiguous
        (True, False)
        """
        return _QUERY.search(self.credentials) is not None
