"""Whether a service works, asked of its parts and told everywhere alike: over HTTP, over gRPC, in the log.

>>> import asyncio
>>> from chassis.component import Component
>>> from chassis.errors import Temporary
>>> class Database(Component):
...     name = "database"
...     async def check(self):
...         raise Temporary("no connection to be had")
>>> async def main():
...     health = Health([Database()])
...     health.mark_ready()
...     return (await health.check()).readiness()
>>> asyncio.run(main())
{'status': 'unhealthy', 'checks': {'database': {'status': 'error', 'message': 'no connection to be had'}}}

Liveness asks no part: a process whose event loop does its work is alive, whatever it depends on.
"""

from chassis.health.health import Health, Subscriber
from chassis.health.report import CheckResult, Report, State, liveness, to_json
from chassis.health.watch import HealthWatch

__all__ = ["CheckResult", "Health", "HealthWatch", "Report", "State", "Subscriber", "liveness", "to_json"]
