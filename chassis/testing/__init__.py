"""For the tests of services: one running in the test's own event loop, on free ports, over a bus in memory.

>>> import asyncio
>>> from chassis import ServiceChassis
>>> from chassis.testing import running
>>> class Quiet(ServiceChassis):
...     name = "quiet"
>>> async def main():
...     async with running(Quiet) as service:
...         return service.http_url("/health/ready").startswith("http://127.0.0.1:")
>>> asyncio.run(main())
True
"""

from chassis.testing.running import Running, running

__all__ = ["Running", "running"]
