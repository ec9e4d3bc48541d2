"""A service: what a developer says of it, and what happens between its start and its end.

>>> import asyncio
>>> from chassis.service import ServiceChassis
>>> class Quiet(ServiceChassis):
...     name = "quiet"
>>> async def main():
...     overrides = {"server.grpc_port": 0, "server.http_port": 0, "server.drain_delay": 0, "log.level": "error"}
...     service = Quiet(Quiet.configure(environ={}, overrides=overrides))
...     await service.start()
...     return await service.stop()
>>> asyncio.run(main())
[]
"""

from chassis.service.runner import run
from chassis.service.service import ServiceChassis

__all__ = ["ServiceChassis", "run"]
