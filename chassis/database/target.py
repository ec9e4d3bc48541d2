from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the database is, and who asks; `query_timeout` is in seconds."""

    host: str
    port: int
    database: str
    user: str
    password: Callable[[], str]
    ssl_mode: str
    query_timeout: float
    application_name: str

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}"

    @property
    def span_attributes(self) -> dict[str, str | int]:
        """Where it is, in the words of OpenTelemetry's conventions for PostgreSQL."""
        attributes: dict[str, str | int] = {"db.namespace": self.database, "server.address": self.host}
        if self.port != 5432 and not self.host.startswith("/"):
            attributes["server.port"] = self.port
        return attributes
