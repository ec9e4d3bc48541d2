"""The event bus over NATS JetStream; nats-py is known in this package alone, and imported when a service uses it.

>>> from chassis.bus import Bus
>>> from chassis.config import SecretUrl
>>> backend = JetStreamBackend([SecretUrl("nats://127.0.0.1:4222")], client_name="cqar")
>>> Bus(backend, service_name="cqar").backend.system
'nats'
"""

from chassis.bus.jetstream.backend import JetStreamBackend

__all__ = ["JetStreamBackend"]
