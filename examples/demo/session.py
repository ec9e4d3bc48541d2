from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from aiohttp import ClientSession
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub

from chassis.client import channel
from chassis.tracing import Tracing
from examples.asset_registry import reference
from examples.demo.collector import Collector
from examples.demo.outage import Outage
from examples.demo.screen import Screen, short
from examples.demo.stage import PATIENCE, Line, Stage

KEY: Final = "demo-key-for-the-tour"

EXPECTED: Final = {
    "reference": "OK",
    "duplicate": "ALREADY_EXISTS",
    "missing": "NOT_FOUND",
    "bad input": "INVALID_ARGUMENT",
    "no credentials": "UNAUTHENTICATED",
    "left out": "UNIMPLEMENTED",
    "update": "OK",
    "search": "OK",
    "page": "OK",
    "pages": f"{len(reference.ASSETS)} assets",
    "create": "OK",
    "arrived": "OK",
    "shown": "DEMO",
    "trace": "client, consumer, producer, server",
    "logged": "cqar, listing-watch",
    "moved": "yes",
    "health": "healthy",
    "Redis away": "as expected",
    "Redis back": "well",
    "NATS away": "as expected",
    "NATS back": "well",
    "PostgreSQL away": "as expected",
    "PostgreSQL back": "well",
}
"""How each step ends when all is well."""


class Session:
    """A client's session with the registry, and a look over the operator's shoulder."""

    def __init__(self, screen: Screen, stage: Stage, collector: Collector) -> None:
        self._screen = screen
        self._stage = stage
        self._collector = collector
        endpoint = f"http://127.0.0.1:{collector.port}"
        self._tracing = Tracing("demo-client", endpoint=endpoint, sample_rate=1, batch_timeout=0.2)

    async def play(self, *, outages: bool = True) -> None:
        """Go through all of it, servers that go away included or not."""
        await self._tracing.start()
        try:
            async with (
                channel(self._stage.registry, token=KEY, tracing=self._tracing) as known,
                channel(self._stage.registry) as stranger,
                ClientSession() as http,
            ):
                before = await self._metrics(http)
                stub = AssetRegistryStub(known)
                await self._fill(stub)
                await self._mistakes(stub, AssetRegistryStub(stranger))
                await self._read(stub)
                await self._follow_one(stub, http)
                await self._operate(http, before)
                if outages:
                    await self._take_away(stub, http)
        finally:
            await self._tracing.stop()

    async def _fill(self, stub: Any) -> None:
        self._screen.title("A reference set is registered")
        count = sum(map(len, (reference.CHAINS, reference.ASSETS, reference.DEPLOYMENTS)))
        count += len(reference.VENUES) + len(reference.LISTINGS)
        await self._screen.call("reference", f"{count} records, one call each", reference.register(stub))

    async def _mistakes(self, stub: Any, stranger: Any) -> None:
        screen = self._screen
        screen.title("What goes wrong gets the right answer")
        native = reference.ASSETS[0]
        await screen.call(
            "duplicate", "CreateAsset BTC, again", stub.CreateAsset(pb.CreateAssetRequest(**native._asdict()))
        )
        unknown = "00000000-0000-4000-8000-000000000000"
        await screen.call(
            "missing", "GetAsset of an id that is not there", stub.GetAsset(pb.GetAssetRequest(asset_id=unknown))
        )
        await screen.call(
            "bad input", "CreateAsset without a symbol", stub.CreateAsset(pb.CreateAssetRequest(name="?"))
        )
        await screen.call(
            "no credentials", "ListChains without credentials", stranger.ListChains(pb.ListChainsRequest())
        )
        await screen.call("left out", "GetMarket, which this service leaves out", stub.GetMarket(pb.GetMarketRequest()))

    async def _read(self, stub: Any) -> None:
        screen = self._screen
        screen.title("What is there is found")
        found = await screen.call(
            "search", "SearchAssets 'ether'", stub.SearchAssets(pb.SearchAssetsRequest(query="ether"))
        )
        if found is not None and found.assets:
            change = pb.UpdateAssetRequest(asset_id=found.assets[0].asset_id, description="found by the demo")
            await screen.call("update", f"UpdateAsset {found.assets[0].symbol}", stub.UpdateAsset(change))
        token, seen, page = "", 0, 0
        while token or not page:
            page += 1
            request = pb.ListAssetsRequest(page_size=10, page_token=token)
            reply = await screen.call("page", f"ListAssets, page {page}", stub.ListAssets(request))
            if reply is None:
                break
            seen += len(reply.assets)
            token = reply.next_page_token
        screen.check("pages", "all pages together", f"{seen} assets")

    async def _follow_one(self, stub: Any, http: ClientSession) -> None:
        screen = self._screen
        screen.title("One call, followed from the client to the second service and back")
        # A span of the client's own, around the call: all that follows from it has its trace id.
        with self._tracing.tracer.start_as_current_span("list a new asset") as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            request = pb.CreateAssetRequest(symbol="DEMO", name="Demo Coin", asset_type=reference.NATIVE)
            created = await screen.call("create", "CreateAsset DEMO", stub.CreateAsset(request))
        if created is None:
            return
        handled = await self._stage.line(
            lambda line: line["message"] == "event processed" and line.get("trace_id") == trace_id
        )
        screen.check(
            "arrived", f"{short(handled['topic'])} at listing-watch", handled["code"], f"event {handled['event_id']}"
        )
        url = f"http://{self._stage.watch_http}/listings/{created.asset.asset_id}"
        async with http.get(url, headers={"Authorization": f"Bearer {KEY}"}) as response:
            shown = await response.json()
        screen.check("shown", "GET /listings/{asset_id} at listing-watch", shown.get("symbol"))
        await self._show_trace(trace_id)

    async def _show_trace(self, trace_id: str) -> None:
        screen = self._screen
        hops = {"demo-client", "cqar", "listing-watch"}
        spans = await self._collector.trace(trace_id, services=hops, spans=11, timeout=PATIENCE)
        screen.say(f"\n  trace [cyan]{trace_id}[/cyan]\n")
        screen.trace(spans)
        kinds = {span.kind for span in spans} - {"internal"}
        screen.check("trace", "kinds of spans in it", ", ".join(sorted(kinds)))
        # Lines and spans are gathered for a moment each, and either may be here first.
        for method in ("/CreateAsset", "/GetAsset"):
            await self._stage.line(partial(_tells_of, trace_id, method))
        lines = [line for line in self._stage.lines if line.get("trace_id") == trace_id]
        screen.say("\n  the same trace id in the logs\n")
        screen.table(
            ("time", "service", "message", "what", "code", "ms"),
            (
                (
                    line["timestamp"][11:23],
                    line["service_name"],
                    line["message"],
                    short(str(line.get("method") or line.get("topic", ""))),
                    line.get("code", ""),
                    line.get("duration_ms", ""),
                )
                for line in lines
            ),
        )
        services = {line["service_name"] for line in lines}
        screen.check("logged", "services whose log has it", ", ".join(sorted(services)))

    async def _operate(self, http: ClientSession, before: dict[str, float]) -> None:
        screen = self._screen
        screen.title("What the operator sees")
        after = await self._metrics(http)
        moved = {name: after[name] - before.get(name, 0.0) for name in after if after[name] != before.get(name, 0.0)}
        totals: dict[str, float] = {}
        for name, value in moved.items():
            family = name.partition("{")[0]
            code = name.partition('status_code="')[2].partition('"')[0]
            totals[f"{family} {code}".strip()] = totals.get(f"{family} {code}".strip(), 0.0) + value
        screen.table(("metric", "moved by"), ((name, f"+{value:g}") for name, value in sorted(totals.items())))
        wanted = ("cqar_grpc_calls_total OK", "cqar_event_published_total", "listing_watch_event_handled_total OK")
        screen.check("moved", "calls and events were counted", "yes" if set(wanted) <= set(totals) else "no")
        for name, address in (("cqar", self._stage.registry_http), ("listing-watch", self._stage.watch_http)):
            async with http.get(f"http://{address}/health/ready") as response:
                body = await response.json()
            screen.check("health", f"GET /health/ready of {name}", body["status"], ", ".join(body["checks"]))

    async def _take_away(self, stub: Any, http: ClientSession) -> None:
        self._screen.title("A server goes away under running calls, and comes back")
        found = await stub.SearchAssets(pb.SearchAssetsRequest(query="bitcoin"))
        outage = Outage(self._screen, self._stage, stub, http, found.assets[0].asset_id)
        servers = self._stage.servers
        # Without the cache all goes on; what needs the broker or the database is refused, and never lost in silence.
        await outage.of("Redis", servers.redis, {"OK"})
        await outage.of("NATS", servers.nats, {"OK", "UNAVAILABLE"})
        await outage.of("PostgreSQL", servers.postgres, {"OK", "UNAVAILABLE"})

    async def _metrics(self, http: ClientSession) -> dict[str, float]:
        values: dict[str, float] = {}
        for address in (self._stage.registry_http, self._stage.watch_http):
            async with http.get(f"http://{address}/metrics") as response:
                page = await response.text()
            for line in page.splitlines():
                name, _, value = line.rpartition(" ")
                if not line.startswith("#") and name.partition("{")[0].endswith("_total") and "service=" in name:
                    values[name] = float(value)
        return values


def _tells_of(trace_id: str, method: str, line: Line) -> bool:
    return line.get("trace_id") == trace_id and str(line.get("method")).endswith(method)


async def linger(screen: Screen, stage: Stage) -> None:
    """Say what can be tried, and stay until Ctrl-C."""
    screen.title("Both services stay up until Ctrl-C")
    screen.table(
        ("service", "gRPC", "HTTP"),
        (("cqar", stage.registry, stage.registry_http), ("listing-watch", stage.watch, stage.watch_http)),
    )
    screen.say("\n  Try:")
    bearer = f"-H 'authorization: Bearer {KEY}'"
    screen.say(f"    curl {bearer} http://{stage.watch_http}/listings?limit=3")
    screen.say(f"    curl http://{stage.registry_http}/health/ready")
    screen.say(f"    curl http://{stage.registry_http}/metrics")
    screen.say(f"    grpcurl -plaintext {bearer} {stage.registry} cqc.services.v1.AssetRegistry/ListChains")
    await asyncio.Event().wait()
