"""The HTTP sidecar of a service: health, metrics and its own routes, under the same interceptors as its RPCs.

Routes are aiohttp's own; what they raise is answered by the table of `chassis.errors`:

>>> import asyncio, json
>>> from aiohttp import ClientSession, web
>>> from chassis.errors import NotFound
>>> from chassis.health import Health
>>> async def get_asset(request):
...     raise NotFound.of("asset", request.match_info["id"])
>>> def routes(app):
...     app.router.add_get("/assets/{id}", get_asset)
>>> async def main():
...     server = HttpServer(health=Health(), routes=routes)
...     await server.start()
...     async with ClientSession(f"http://{server.address}") as client:
...         async with client.get("/assets/a-1", headers={"X-Request-ID": "r-1"}) as response:
...             print(response.status, await response.json())
...         async with client.get("/health/live") as response:
...             print(response.status, await response.json())
...     await server.stop()
>>> asyncio.run(main())
404 {'error': 'asset not found: a-1', 'code': 'NOT_FOUND', 'request_id': 'r-1'}
200 {'status': 'alive'}

Importing this package imports aiohttp's server, which takes a while: do it where the sidecar is started.
"""

from chassis.http.call import HttpCall
from chassis.http.own_routes import Exposition
from chassis.http.server import HttpServer

__all__ = ["Exposition", "HttpCall", "HttpServer"]
