"""What a service says, has, and goes through between start and stop."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
import pytest
from aiohttp import ClientSession, web
from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqi.testing.v1 import echo_pb2, echo_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import ServiceChassis
from chassis.bus import MemoryBroker, subscribe
from chassis.call import Call, Interceptor, Proceed, current_call, current_principal
from chassis.component import Component, StartError
from chassis.config import ConfigurationError, knob
from chassis.errors import FailedPrecondition, NotFound, Unauthorized
from chassis.testing import running
from chassis.testing.echo import EchoServicer

KEY = "a-key-for-these-tests"
PATIENCE = 5.0


class Echo(ServiceChassis):
    name = "echo"

    def register(self, server: grpc.aio.Server) -> None:
        echo_pb2_grpc.add_EchoServiceServicer_to_server(EchoServicer(), server)


async def get(url: str, **options: Any) -> tuple[int, str]:
    async with ClientSession() as session, session.get(url, **options) as response:
        return response.status, await response.text()


async def echo(service: Any, text: str, **options: Any) -> str:
    stub = echo_pb2_grpc.EchoServiceStub(service.channel(**options))
    reply = await stub.Echo(echo_pb2.EchoRequest(text=text), timeout=PATIENCE)
    return str(reply.text)


async def test_a_service_serves_rpcs_health_and_metrics_with_no_configuration_at_all() -> None:
    async with running(Echo) as service:
        assert await echo(service, "hello") == "hello"
        status, body = await get(service.http_url("/health/ready"))
        assert (status, '"status":"healthy"' in body.replace(" ", "")) == (200, True)
        status, page = await get(service.http_url("/metrics"))
        method = "/cqi.testing.v1.EchoService/Echo"
        assert f'echo_grpc_calls_total{{method="{method}",service="echo",status_code="OK"}} 1.0' in page


async def test_a_part_that_is_not_in_uses_raises_an_error_that_says_so() -> None:
    async with running(Echo) as service:
        with pytest.raises(RuntimeError, match="Echo does not use 'bus': add it to its `uses`"):
            _ = service.service.bus


async def test_hooks_components_and_tasks_live_in_order_and_end_in_reverse() -> None:
    seen: list[str] = []

    class Part(Component):
        def __init__(self, name: str) -> None:
            self.name = name

        async def start(self) -> None:
            seen.append(f"{self.name} started")

        async def stop(self) -> None:
            seen.append(f"{self.name} stopped")

    class Ordered(Echo):
        async def on_start(self) -> None:
            seen.append("on_start")
            self.add(Part("late"))
            self.spawn(self.work())

        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("task ended")

        async def on_stop(self) -> None:
            seen.append("on_stop")

    config = Ordered.configure(environ={}, overrides={"server.grpc_port": 0, "server.http_port": 0, **QUIET})
    service = Ordered(config)
    service.add(Part("early"))
    await asyncio.create_task(service.start())
    assert await asyncio.create_task(service.stop()) == []
    assert seen == [
        "early started", "on_start", "late started", "late stopped", "on_stop", "early stopped", "task ended",
    ]  # fmt: skip


QUIET: Mapping[str, object] = {"server.drain_delay": 0, "log.level": "error"}
FREE: Mapping[str, object] = {**QUIET, "server.grpc_port": 0, "server.http_port": 0}


async def test_a_start_that_fails_half_way_stops_what_had_started_and_names_the_cause(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stopped: list[str] = []

    class Part(Component):
        name = "part"

        async def stop(self) -> None:
            stopped.append(self.name)

    class Failing(Echo):
        async def on_start(self) -> None:
            raise StartError("the reference data is missing: run the import first")

    service = Failing(Failing.configure(environ={}, overrides=QUIET))
    service.add(Part())
    with pytest.raises(StartError):
        await asyncio.create_task(service.start())
    assert stopped == ["part"]
    out = capfd.readouterr().out
    assert "service did not start: the reference data is missing" in out
    assert "Traceback" not in out


class Stuck(Component):
    """Does not stop before it may."""

    name = "stuck"

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.stopped = False

    async def stop(self) -> None:
        self.stopping.set()
        await self.may_stop.wait()
        self.stopped = True


class Crashing(Echo):
    async def on_start(self) -> None:
        raise ZeroDivisionError


def lines_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


async def test_a_start_that_fails_names_the_part_and_waits_no_longer_than_a_stop_for_those_that_do_not_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    overrides = {**QUIET, "server.shutdown_timeout": "50ms", "log.format": "json"}
    service = Crashing(Crashing.configure(environ={}, overrides=overrides))
    service.add(Stuck())
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ZeroDivisionError):
            await asyncio.create_task(service.start())
    lines = lines_of(capfd.readouterr().out)
    assert [(line["message"], line["component"]) for line in lines] == [
        ("service did not start", "Crashing.on_start"),
        ("stuck did not stop by itself: did not stop in time", "stuck"),
    ]


async def test_a_start_that_is_cancelled_while_it_is_undone_leaves_nothing_running() -> None:
    before = logging.getLogger().handlers.copy()
    service = Crashing(Crashing.configure(environ={}, overrides=QUIET))
    first, last = Stuck(), Stuck()
    service.add(first)
    service.add(last)
    starting = asyncio.create_task(service.start())
    async with asyncio.timeout(PATIENCE):
        await last.stopping.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        last.may_stop.set()
        await first.stopping.wait()
        first.may_stop.set()
        undoing = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(undoing)
    assert (last.stopped, first.stopped) == (True, True)
    assert logging.getLogger().handlers == before


async def test_a_task_that_is_spawned_by_another_as_that_ends_is_ended_too() -> None:
    ended: list[str] = []

    class Spawning(Echo):
        async def on_start(self) -> None:
            self.spawn(self.work("first"))

        async def work(self, name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
                if name == "first":
                    self.spawn(self.work("second"))
                    await asyncio.sleep(0)  # so that it has begun

    async with running(Spawning):
        pass
    assert ended == ["first", "second"]


async def test_its_own_settings_come_from_the_section_settings() -> None:
    class Paged(Echo):
        @dataclass(frozen=True)
        class Settings:
            page_size: int = knob(50, doc="Items of a page.")

    assert Paged.configure(environ={"CQI_SETTINGS_PAGE_SIZE": "7"}).settings.page_size == 7


async def test_interceptors_of_its_own_see_rpcs_http_requests_and_events_alike() -> None:
    class Seeing(Interceptor):
        paths: ClassVar[list[str]] = []

        async def around(self, call: Call, proceed: Proceed) -> Any:
            self.paths.append(call.method.path)
            return await proceed(call)

    class Watched(Echo):
        def interceptors(self, default: list[Interceptor]) -> list[Interceptor]:
            return [*default, Seeing()]

        def routes(self, app: web.Application) -> None:
            app.router.add_get("/things/{id}", self.thing)

        async def thing(self, request: web.Request) -> web.Response:
            raise NotFound.of("thing", request.match_info["id"])

    async with running(Watched) as service:
        await echo(service, "x")
        status, body = await get(service.http_url("/things/7"))
    assert (status, "thing not found: 7" in body) == (404, True)
    assert {"/cqi.testing.v1.EchoService/Echo", "/things/{id}"} <= set(Seeing.paths)


async def test_with_auth_configured_rpcs_and_routes_ask_who_is_calling_and_health_does_not() -> None:
    class Private(Echo):
        def routes(self, app: web.Application) -> None:
            async def whoami(request: web.Request) -> web.Response:
                principal = current_principal()
                return web.Response(text=principal.actor_id if principal else "nobody")

            app.router.add_get("/whoami", whoami)

    async with running(Private, {"auth.api_keys": [f"tester:{KEY}"]}) as service:
        with pytest.raises(Unauthorized):
            await echo(service, "x")
        assert await echo(service, "x", token=KEY) == "x"
        assert (await get(service.http_url("/whoami")))[0] == 401
        bearer = {"Authorization": f"Bearer {KEY}"}
        assert await get(service.http_url("/whoami"), headers=bearer) == (200, "service:tester")
        assert (await get(service.http_url("/health/ready")))[0] == 200
        assert (await get(service.http_url("/metrics")))[0] == 200


async def test_a_public_method_that_does_not_exist_is_a_configuration_error() -> None:
    overrides = {**QUIET, "auth.public_methods": ["/cqi.testing.v1.EchoService/Eco"]}
    service = Echo(Echo.configure(environ={}, overrides=overrides))
    with pytest.raises(ConfigurationError, match=r"EchoService/Eco is no method of this service"):
        await asyncio.create_task(service.start())


async def test_a_method_that_is_made_public_needs_no_credentials() -> None:
    config = {"auth.api_keys": [KEY], "auth.public_methods": ["/cqi.testing.v1.EchoService/Echo"]}
    async with running(Echo, config) as service:
        assert await echo(service, "open") == "open"


async def test_events_reach_the_handlers_of_another_service_on_the_same_broker() -> None:
    class Publisher(Echo):
        uses = ("bus",)

    class Watcher(ServiceChassis):
        name = "watcher"
        uses = ("bus",)

        async def on_start(self) -> None:
            self.seen: asyncio.Queue[AssetCreated] = asyncio.Queue()

        @subscribe(AssetCreated)
        async def on_asset_created(self, event: AssetCreated) -> None:
            self.seen.put_nowait(event)

    broker = MemoryBroker()
    async with running(Publisher, broker=broker) as publisher, running(Watcher, broker=broker) as watcher:
        await publisher.service.bus.publish(AssetCreated(source="manual"))
        event = await asyncio.wait_for(watcher.service.seen.get(), PATIENCE)
    assert (event.source, event.actor_id) == ("manual", "service:echo")


async def test_a_background_task_that_crashes_is_counted_and_makes_the_service_unready() -> None:
    class Broken(Echo):
        async def on_start(self) -> None:
            self.spawn(self.work(), name="prices", on_crash="unready")

        async def work(self) -> None:
            raise FailedPrecondition("nothing to do")

    async with running(Broken) as service:
        status, body = await get(service.http_url("/health/ready"))
        assert status == 503
        assert json.loads(body)["checks"]["tasks"]["message"] == "prices ended by FailedPrecondition"
        assert service.service.metrics.value("echo_task_crashes_total", task="prices") == 1


async def test_a_background_task_that_crashes_ends_the_service_unless_said_otherwise() -> None:
    class Ending(Echo):
        async def on_start(self) -> None:
            self.spawn(self.work(), name="prices")

        async def work(self) -> None:
            raise ValueError

    async with running(Ending) as service:
        reason = await asyncio.wait_for(service.service.wait_for_end(), PATIENCE)
        assert reason == "background task prices crashed"


async def test_spawn_refuses_a_fate_that_there_is_not() -> None:
    async def work() -> None: ...

    async with running(Echo) as service:
        with pytest.raises(ValueError, match="on_crash is 'end' or 'unready'"):
            service.service.spawn(work(), on_crash="ignore")  # type: ignore[arg-type]


async def test_a_channel_of_a_service_is_opened_once_for_each_target_and_closed_with_it() -> None:
    async with running(Echo) as target, running(Echo) as service:
        address = target.service.grpc_address
        first = service.service.channel(address)
        assert first is service.service.channel(address)
        assert first is not service.service.channel(address, timeout=1.0)
        small: dict[str, Any] = {"options": [("grpc.max_send_message_length", 100)], "interceptors": list}
        assert service.service.channel(address, **small) is service.service.channel(address, **small)
        assert first is not service.service.channel(address, **small)
        stub = echo_pb2_grpc.EchoServiceStub(first)
        assert (await stub.Echo(echo_pb2.EchoRequest(text="hi"), timeout=PATIENCE)).text == "hi"


async def test_two_services_in_one_process_do_not_see_each_other() -> None:
    class Other(Echo):
        name = "other"

    async with running(Echo) as one, running(Other) as other:
        await echo(one, "x")
        path = "/cqi.testing.v1.EchoService/Echo"
        assert one.service.metrics.value("echo_grpc_calls_total", method=path, status_code="OK") == 1
        assert other.service.metrics.value("other_grpc_calls_total", method=path, status_code="OK") is None


@pytest.mark.parametrize(("said", "warned"), [({}, True), ({"eventbus.backend": "memory"}, False)])
async def test_a_bus_that_nobody_else_hears_is_warned_of_unless_it_is_meant(
    said: dict[str, object], warned: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    class Alone(Echo):
        uses = ("bus",)

    async with running(Alone, {"log.level": "warn", **said}):
        pass
    assert ("events stay in this process: set eventbus.servers" in capfd.readouterr().out) == warned


async def test_a_component_that_comes_too_late_to_be_started_is_refused() -> None:
    async with running(Echo) as service:
        with pytest.raises(RuntimeError, match="comes too late"):
            service.service.add(Component())


class TheirError(Exception):
    """Of some library."""


async def test_exceptions_of_libraries_have_the_meaning_that_the_service_gives_them() -> None:
    class Translating(Echo):
        translate: ClassVar[Any] = {TheirError: lambda error: NotFound(f"nowhere: {error}")}

        def routes(self, app: web.Application) -> None:
            app.router.add_get("/theirs", self.fail)

        async def fail(self, request: web.Request) -> web.Response:
            raise TheirError("x")

    async with running(Translating) as service:
        status, body = await get(service.http_url("/theirs"))
    assert (status, json.loads(body)["error"]) == (404, "nowhere: x")


async def test_an_http_request_has_the_time_that_is_configured(capfd: pytest.CaptureFixture[str]) -> None:
    class Slow(Echo):
        remaining: ClassVar[list[float | None]] = []

        def routes(self, app: web.Application) -> None:
            app.router.add_get("/slow", self.wait)

        async def wait(self, request: web.Request) -> web.Response:
            call = current_call()
            assert call is not None
            self.remaining.append(call.time_remaining())
            if request.query:
                await asyncio.Event().wait()
            return web.Response()

    async with running(Slow, environ={"CQI_SERVER_HTTP_REQUEST_TIMEOUT": "50ms"}) as service:
        assert (await get(service.http_url("/slow?wait=1")))[0] == 504
    async with running(Slow, {"server.http_request_timeout": 0}) as service:
        assert (await get(service.http_url("/slow")))[0] == 200
    async with running(Slow) as service:
        assert (await get(service.http_url("/slow")))[0] == 200
    assert Slow.remaining[1] is None
    assert Slow.remaining[2] is not None
    assert 50 < Slow.remaining[2] <= 60


@pytest.mark.parametrize("sample_rate", [0, 1])
async def test_log_lines_within_a_span_of_ones_own_belong_to_it(
    sample_rate: int, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, str] = {}

    class Traced(Echo):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._assembly.tracing._exporter = InMemorySpanExporter()

        def routes(self, app: web.Application) -> None:
            app.router.add_get("/price", self.price)

        async def price(self, request: web.Request) -> web.Response:
            call = current_call()
            assert call is not None
            assert call.trace is not None
            seen["call"] = call.trace.span_id
            self.log.info("before")
            with self.tracer.start_as_current_span("price") as span:
                seen["own"] = f"{span.get_span_context().span_id:016x}"
                self.log.info("within")
            return web.Response()

    config = {
        "tracing.enabled": True,
        "tracing.endpoint": "127.0.0.1:4317",
        "tracing.sample_rate": sample_rate,
        "log.level": "info",
    }
    async with running(Traced, config) as service:
        assert (await get(service.http_url("/price")))[0] == 200
    lines = {line["message"]: line for line in lines_of(capfd.readouterr().out)}
    assert (lines["before"]["span_id"], lines["within"]["span_id"]) == (seen["call"], seen["own"])
    assert lines["before"]["trace_id"] == lines["within"]["trace_id"]
    assert seen["call"] != seen["own"]


async def test_all_parts_are_told_when_work_under_way_is_cut_and_say_alike_what_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Working(Component):
        name = "working"

        async def stop(self) -> None:
            assert self.time_to_end(3600) <= 5
            raise TimeoutError("2 jobs had to be cut off")

    service = Echo(Echo.configure(environ={}, overrides={**FREE, "log.format": "json"}))
    service.add(Working())
    await asyncio.create_task(service.start())
    loop = asyncio.get_running_loop()
    failures = await asyncio.create_task(service.stop(deadline=loop.time() + 5))
    assert [(failure.name, failure.reason) for failure in failures] == [("working", "2 jobs had to be cut off")]
    (line,) = lines_of(capfd.readouterr().out)
    assert (line["component"], "stack" in line) == ("working", False)


async def test_what_a_page_of_metrics_logs_is_of_the_service_that_was_asked(capfd: pytest.CaptureFixture[str]) -> None:
    class Telling(Echo):
        async def on_start(self) -> None:
            self.metrics.gauge("depth", "How deep.").set_function(self.depth)

        def depth(self) -> float:
            logging.getLogger("deep").error("asked")
            return 1.0

    class Second(Telling):
        name = "second"

    async with running(Echo), running(Second) as second:
        await get(second.http_url("/metrics"))
    assert [line["service_name"] for line in lines_of(capfd.readouterr().out)] == ["second"]
