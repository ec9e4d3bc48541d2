"""Typed configuration from a file, the environment and defaults: every problem at once, and no secret in sight.

A service declares its own options beside those that every service has:

>>> from dataclasses import dataclass
>>> from chassis.config import Duration, Secret, between, knob, load
>>> @dataclass(frozen=True)
... class Settings:
...     page_size: int = knob(50, doc="Items of a page.", check=between(1, 1000))
...     refresh: Duration = knob(30.0, doc="How often prices are fetched.")
...     venue_key: Secret = knob(Secret(""), doc="Key for the venue's API.")
>>> environ = {"CQAR_SETTINGS_REFRESH": "1m", "CQAR_SETTINGS_VENUE_KEY": "hunter2"}
>>> config = load(Settings, prefix="CQAR", environ=environ, defaults={"service.name": "cqar"})
>>> config.settings
Settings(page_size=50, refresh=60.0, venue_key=Secret('***'))
>>> config.server.grpc_port, config.origins["settings.refresh"]
(9000, 'CQAR_SETTINGS_REFRESH')
"""

from __future__ import annotations

from chassis.config.given import Given
from chassis.config.knobs import Check, at_least, between, each, knob, longer_than_zero, matching
from chassis.config.load import Config, load
from chassis.config.problems import ConfigurationError, Problem
from chassis.config.quantities import ByteSize, Duration, format_duration, format_size, parse_duration, parse_size
from chassis.config.secret import Secret, SecretUrl
from chassis.config.sections import (
    AuthConfig,
    CacheConfig,
    DatabaseConfig,
    EventBusConfig,
    LogConfig,
    MetricsConfig,
    ServerConfig,
    ServiceConfig,
    TracingConfig,
)
from chassis.config.yaml_file import find_file

__all__ = [
    "AuthConfig",
    "ByteSize",
    "CacheConfig",
    "Check",
    "Config",
    "ConfigurationError",
    "DatabaseConfig",
    "Duration",
    "EventBusConfig",
    "Given",
    "LogConfig",
    "MetricsConfig",
    "Problem",
    "Secret",
    "SecretUrl",
    "ServerConfig",
    "ServiceConfig",
    "TracingConfig",
    "at_least",
    "between",
    "each",
    "find_file",
    "format_duration",
    "format_size",
    "knob",
    "load",
    "longer_than_zero",
    "matching",
    "parse_duration",
    "parse_size",
]
