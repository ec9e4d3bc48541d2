from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from chassis.call import Call, Kind, Method, current_call, enter, leave
from chassis.component import Component, Components
from chassis.errors import Temporary
from chassis.health import Health, State, liveness


class Part(Component):
    """A part that fails as told, and counts how often it was asked."""

    def __init__(self, name: str, error: BaseException | None = None, *, required: bool = True) -> None:
        self.name = name
        self.error = error
        self.required = required
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


class Slow(Part):
    """A part that answers when it is let go."""

    def __init__(self, name: str, *, stubborn: bool = False) -> None:
        super().__init__(name)
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.stubborn = stubborn

    async def check(self) -> None:
        self.asked += 1
        self.begun.set()
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        self.ended.set()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ready_health(*parts: Component, **options: object) -> Health:
    health = Health(parts, **options)  # type: ignore[arg-type]
    health.mark_ready()
    return health


async def test_a_service_whose_parts_work_is_healthy() -> None:
    report = await ready_health(Part("database"), Part("cache"), Part("event_bus")).check()
    assert report.ready
    assert report.readiness_json() == (
        b'{"status":"healthy","checks":{"database":{"status":"ok"},"cache":{"status":"ok"},"event_bus":{"status":"ok"}}}\n'
    )


async def test_a_part_that_fails_makes_it_unhealthy_and_is_named() -> None:
    report = await ready_health(Part("database", Temporary("no connection")), Part("cache")).check()
    assert not report.ready
    assert json.loads(report.readiness_json()) == {
        "status": "unhealthy",
        "checks": {"database": {"status": "error", "message": "no connection"}, "cache": {"status": "ok"}},
    }


async def test_the_combined_body_holds_liveness_and_readiness() -> None:
    report = await ready_health().check()
    assert report.combined_json() == b'{"liveness":"alive","readiness":{"status":"healthy","checks":{}}}\n'


async def test_a_part_that_is_not_required_is_degraded_and_leaves_it_ready() -> None:
    health = ready_health(Part("cache", Temporary("down"), required=False))
    report = await health.check()
    assert report.ready
    assert health.ready
    assert report.readiness()["checks"]["cache"] == {"status": "error", "message": "degraded: down"}


async def test_parts_without_a_check_are_not_listed() -> None:
    report = await ready_health(Component(), Part("database")).check()
    assert [check.name for check in report.checks] == ["database"]


async def test_two_parts_of_one_name_do_not_hide_each_other() -> None:
    report = await ready_health(Part("database", Temporary("down")), Part("database")).check()
    assert list(report.readiness()["checks"]) == ["database", "database_2"]
    assert not report.ready


async def test_texts_of_foreign_exceptions_are_not_shown() -> None:
    dsn = "postgresql://user:s3cret@db/prod"
    report = await ready_health(Part("database", RuntimeError(dsn)), Part("cache", OSError(111, dsn))).check()
    assert b"s3cret" not in report.readiness_json()
    assert [check.error for check in report.checks] == ["RuntimeError", "ConnectionRefusedError"]


async def test_a_message_is_one_line_of_limited_length() -> None:
    report = await ready_health(Part("database", Temporary("a\n" * 500))).check()
    error = report.checks[0].error
    assert error is not None
    assert len(error) == 300
    assert "\n" not in error


async def test_nothing_is_ready_before_it_is_said_to_be() -> None:
    health = Health([Part("database")])
    report = await health.check()
    assert not health.ready
    assert report.readiness() == {
        "status": "unhealthy",
        "checks": {
            "database": {"status": "ok"},
            "service": {"status": "error", "message": "the service is starting"},
        },
    }


async def test_being_said_to_be_ready_is_not_enough() -> None:
    health = ready_health(Part("database"))
    assert not health.ready  # nobody has asked the database yet
    await health.check()
    assert health.ready


async def test_draining_is_not_ready_at_once_and_for_good() -> None:
    health = ready_health(Part("database"))
    await health.check()
    health.drain()
    assert not health.ready
    health.mark_ready()
    report = await health.check()
    assert report.state is State.DRAINING
    assert not report.ready
    assert report.readiness()["checks"]["service"]["message"] == "the service is draining"


async def test_parts_are_asked_anew_which_they_are() -> None:
    components = Components()
    health = Health(components, cache=0)
    health.mark_ready()
    assert (await health.check()).checks == ()
    await components.start(Part("database"))
    assert [check.name for check in (await health.check()).checks] == ["database"]


async def test_parts_can_be_given_by_a_function() -> None:
    report = await Health(lambda: [Part("cache")]).check()
    assert [check.name for check in report.checks] == ["cache"]


async def test_a_thousand_probes_ask_a_part_once(clock: Clock) -> None:
    part = Part("database")
    health = Health([part], clock=clock)
    for _ in range(1000):
        await health.check()
    await asyncio.gather(*(health.check() for _ in range(1000)))
    assert part.asked == 1
    clock.now += 1.0
    await health.check()
    assert part.asked == 2


async def test_probes_that_come_while_a_check_runs_share_it() -> None:
    part = Slow("database")
    health = Health([part])
    probes = [asyncio.create_task(health.check()) for _ in range(50)]
    await part.begun.wait()
    part.go.set()
    reports = await asyncio.gather(*probes)
    assert part.asked == 1
    assert all(report.checks[0].error is None for report in reports)


async def test_a_prober_that_gives_up_does_not_end_the_check_of_others() -> None:
    part = Slow("database")
    health = Health([part])
    first, second = (asyncio.create_task(health.check()) for _ in range(2))
    await part.begun.wait()
    first.cancel()
    await asyncio.wait({first})
    part.go.set()
    assert (await second).checks[0].error is None
    assert part.asked == 1


async def test_parts_are_checked_at_the_same_time() -> None:
    parts = [Slow("database"), Slow("cache")]
    health = Health(parts)
    probe = asyncio.create_task(health.check())
    for part in parts:
        await part.begun.wait()
    for part in parts:
        part.go.set()
    assert len((await probe).checks) == 2


async def test_a_part_that_does_not_answer_in_time_fails_alone() -> None:
    report = await Health([Slow("database"), Part("cache")], timeout=0.01).check()
    assert [(check.name, check.error) for check in report.checks] == [
        ("database", "no answer within 0.01 s"),
        ("cache", None),
    ]


async def test_a_check_that_hangs_is_not_begun_again_until_it_ends() -> None:
    part = Slow("database", stubborn=True)
    health = Health([part], timeout=0.01, cache=0)
    for _ in range(3):
        report = await health.check()
        assert report.checks[0].error == "no answer within 0.01 s"
    assert part.asked == 1
    part.go.set()
    await part.ended.wait()
    await asyncio.sleep(0)  # the task around it ends, too
    assert (await health.check()).checks[0].error is None
    assert part.asked == 2


async def test_a_check_that_is_cancelled_from_inside_counts_as_failed() -> None:
    report = await Health([Part("database", asyncio.CancelledError())]).check()
    assert report.checks[0].error == "CancelledError"


async def test_a_check_is_no_part_of_the_call_whose_probe_began_it() -> None:
    seen: list[Call | None] = []

    class Curious(Part):
        async def check(self) -> None:
            seen.append(current_call())

    call = Call(Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server"))
    token = enter(call)
    try:
        await Health([Curious("database")]).check()
    finally:
        leave(token)
    assert seen == [None]


async def test_a_check_begun_before_it_was_complete_is_not_taken_for_the_truth() -> None:
    late = Part("cache", Temporary("down"))
    slow = Slow("database")
    parts: list[Component] = [slow]
    health = Health(parts)
    probe = asyncio.create_task(health.check())
    await slow.begun.wait()
    parts.append(late)
    health.mark_ready()
    slow.go.set()
    report = await probe
    assert late.asked == 1
    assert not report.ready


async def test_parts_that_cannot_be_listed_are_an_error_for_the_prober_and_mend() -> None:
    answers: Iterator[list[Component] | Exception] = iter([RuntimeError("no list"), [Part("database")]])

    def parts() -> list[Component]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    health = Health(parts)
    with pytest.raises(RuntimeError, match="no list"):
        await health.check()
    assert [check.name for check in (await health.check()).checks] == ["database"]


async def test_subscribers_learn_of_each_change_once() -> None:
    part = Part("database")
    health = Health([part], cache=0)
    told: list[bool] = []
    health.subscribe(told.append)
    health.mark_ready()
    await health.check()
    await health.check()
    part.error = Temporary("down")
    await health.check()
    await health.check()
    part.error = None
    await health.check()
    health.drain()
    health.drain()
    assert told == [True, False, True, False]


async def test_subscribers_may_be_coroutine_functions_and_are_told_in_order() -> None:
    health = Health()
    told: list[bool] = []
    first = asyncio.Event()
    both = asyncio.Event()

    async def subscriber(ready: bool) -> None:
        if ready:
            await first.wait()
        told.append(ready)
        if len(told) == 2:
            both.set()

    health.subscribe(subscriber)
    health.mark_ready()
    await health.check()
    health.drain()
    first.set()
    await both.wait()
    assert told == [True, False]


async def test_who_unsubscribed_is_not_told() -> None:
    health = Health()
    told: list[bool] = []
    unsubscribe = health.subscribe(told.append)
    unsubscribe()
    unsubscribe()
    health.mark_ready()
    await health.check()
    assert told == []


async def test_a_subscriber_that_crashes_does_not_keep_others_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[bool] = []
    done = asyncio.Event()

    def broken(ready: bool) -> None:
        raise ValueError("broken")

    async def broken_later(ready: bool) -> None:
        done.set()
        raise ValueError("broken later")

    health = Health()
    health.subscribe(broken)
    health.subscribe(broken_later)
    health.subscribe(told.append)
    health.mark_ready()
    await health.check()
    await done.wait()
    await asyncio.sleep(0)
    assert told == [True]
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "a subscriber to the service's health crashed",
        "a subscriber to the service's health crashed",
    ]


async def test_changes_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chassis.health")
    part = Part("database")
    health = Health([part], cache=0)
    health.mark_ready()
    await health.check()
    part.error = Temporary("down", detail="replica 2")
    await health.check()
    await health.check()
    part.error = None
    await health.check()
    await health.check()
    health.drain()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "the service is ready"),
        ("WARNING", "database is failing: down (replica 2)"),
        ("WARNING", "the service is not ready: database"),
        ("INFO", "database works again"),
        ("INFO", "the service is ready"),
        ("INFO", "the service is draining and no longer ready"),
    ]


async def test_the_log_says_what_the_system_said_and_no_driver_text(caplog: pytest.LogCaptureFixture) -> None:
    refused = OSError(111, "Connection refused")
    await Health([Part("cache", refused), Part("database", ValueError("s3cret"))]).check()
    assert "cache is failing: ConnectionRefusedError: Connection refused" in caplog.text
    assert "database is failing: ValueError" in caplog.text
    assert "s3cret" not in caplog.text


async def test_liveness_depends_on_no_part_and_says_why_the_process_should_be_restarted() -> None:
    reasons: list[str | None] = [None]
    health = ready_health(Part("database", Temporary("down")), stuck=lambda: reasons[-1])
    assert (health.stuck, liveness(health.stuck)) == (None, {"status": "alive"})
    assert json.loads((await health.check()).combined_json())["liveness"] == "alive"
    reasons.append("the event loop was blocked")
    assert liveness(health.stuck) == {"status": "stuck", "message": "the event loop was blocked"}
    report = await health.check()
    assert json.loads(report.combined_json())["liveness"] == "stuck"
    assert "event loop" not in str(report.readiness())
