"""The two servers of a service, from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chassis.call import Interceptor
from chassis.config import ConfigurationError
from chassis.metrics.catalogue import GRPC_PORT_LOST
from chassis.server import GrpcServer, Limits

if TYPE_CHECKING:
    from chassis.config import Config
    from chassis.health import Health
    from chassis.http import HttpServer
    from chassis.metrics import Metrics
    from chassis.service.service import ServiceChassis


def make_grpc(
    config: Config,
    service: ServiceChassis,
    interceptors: Sequence[Interceptor],
    health: Health,
    metrics: Metrics,
    end: Callable[[str], None],
) -> GrpcServer:
    """Put the gRPC server together; `end` is called, with the reason, when its port is lost for good.

    Raises ConfigurationError where a method that is to be public does not exist: a typing error would leave it closed
    today, and open whatever has that name tomorrow.
    """
    section = config.server
    server = GrpcServer(
        service.register,
        interceptors,
        host=section.host,
        port=section.grpc_port,
        limits=Limits(
            max_receive_message_bytes=section.max_receive_message_bytes,
            max_send_message_bytes=section.max_send_message_bytes,
            max_metadata_bytes=section.max_metadata_bytes,
            max_concurrent_streams=section.max_concurrent_streams,
            keepalive_time=section.keepalive_time,
            keepalive_timeout=section.keepalive_timeout,
            keepalive_min_interval=section.keepalive_min_time,
        ),
        health=health,
        reflection=section.enable_reflection,
        public=config.auth.public_methods,
        lost=metrics.get(GRPC_PORT_LOST).inc,
        given_up=end,
    )
    unknown = [path for path in config.auth.public_methods if path not in server.paths]
    if unknown:
        known = ", ".join(sorted(server.paths)[:3]) or "none"
        raise ConfigurationError(
            config.problem("auth.public_methods", f"{path} is no method of this service (some that are: {known})")
            for path in unknown
        )
    return server


def make_http(
    config: Config, service: ServiceChassis, interceptors: Sequence[Interceptor], health: Health, metrics: Metrics
) -> HttpServer:
    """Put the HTTP sidecar together."""
    from chassis.http import HttpServer

    section = config.server
    return HttpServer(
        health=health,
        host=section.host,
        port=section.http_port,
        interceptors=interceptors,
        routes=service.routes,
        metrics=metrics,
        metrics_path=config.metrics.path,
        max_body_bytes=section.http_max_body_bytes,
        max_header_bytes=section.max_metadata_bytes,
        request_timeout=section.http_request_timeout or None,
    )
