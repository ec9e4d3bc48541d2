"""Who sends the spans, in the words of OpenTelemetry's semantic conventions for resources."""

from __future__ import annotations

import os
import platform
import socket
import sys
import uuid

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.util.types import AttributeValue

from chassis.version import __version__

_INSTANCE = "service.instance.id"


def resource_of(service_name: str, version: str, environment: str) -> Resource:
    """Describe one service in one process.

    What OTEL_RESOURCE_ATTRIBUTES says is added, and gives way to what the service says of itself.

    >>> resource_of("cqar", "1.2.0", "production").attributes["deployment.environment.name"]
    'production'
    """
    attributes: dict[str, AttributeValue] = {
        "service.name": service_name,
        "process.pid": os.getpid(),
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": platform.python_version(),
        "host.name": socket.gethostname(),
        "telemetry.distro.name": "cq-chassis",
    }
    for name, value in (
        ("service.version", version),
        ("deployment.environment.name", environment),
        ("telemetry.distro.version", __version__),
    ):
        if value:
            attributes[name] = value
    # The SDK's own id is one for the process, and two services may share one.
    if _INSTANCE not in OTELResourceDetector().detect().attributes:
        attributes[_INSTANCE] = str(uuid.uuid4())
    return Resource.create(attributes)
