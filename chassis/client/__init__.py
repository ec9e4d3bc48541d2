"""Calls to other services, under the same observers, deadlines and errors as the calls that are served.

>>> import asyncio
>>> from chassis.client import channel
>>> async def main():
...     async with channel("127.0.0.1:9000", token="a-key-of-this-service") as ch:
...         return ch is not None
>>> asyncio.run(main())
True
"""

from chassis.client.channel import channel
from chassis.client.streams import reading

__all__ = ["channel", "reading"]
