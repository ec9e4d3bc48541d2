from __future__ import annotations


def host_port(host: str, port: int) -> str:
    """A host and a port in one text, as RFC 3986 writes them: addresses of IPv6 stand in brackets.

    >>> host_port("127.0.0.1", 9000), host_port("::1", 9000)
    ('127.0.0.1:9000', '[::1]:9000')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
