"""The event bus over NATS JetStream; nats-py is known in this package alone, and imported when a service uses it."""

from chassis.bus.jetstream.backend import JetStreamBackend

__all__ = ["JetStreamBackend"]
