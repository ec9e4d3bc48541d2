from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar

from chassis.bus.backend import Backend, Consumer, Delivery, Intake
from chassis.bus.declaration import Handler, Subscription, takes_call
from chassis.bus.event import EventCall
from chassis.bus.verdict import CutOff, Settler
from chassis.call import Call, Interceptor, Kind, Method, compose, enter, is_cancelled
from chassis.errors import Cancelled, ChassisError, Crash, DeadlineExceeded, Verdict, classify

_log = logging.getLogger("chassis.bus")


class _Held:
    """A delivery that is here and not settled yet."""

    __slots__ = ("deadline", "delivery", "expired", "key", "released", "signalled", "task")

    def __init__(self, key: tuple[str, int], delivery: Delivery, now: float) -> None:
        self.key = key
        self.delivery = delivery
        self.signalled = now
        self.task: asyncio.Task[None] | None = None
        self.deadline: float | None = None
        self.expired = False
        self.released = False


class RunningSubscription:
    """One subscription at work: takes deliveries in, runs the handler on them, has them settled, and drains.

    Each event is handled in a task of its own, `concurrency` of them at a time. While one is here, waiting or being
    handled, the broker is told so, in time before `ack_wait` is over; a redelivery of it that comes all the same is
    not handled beside the first.
    """

    CUT_GRACE: ClassVar[float] = 1.0
    """Seconds that a handler has for its `finally` blocks when it is cut off."""

    def __init__(
        self,
        subscription: Subscription,
        handler: Handler,
        settler: Settler,
        *,
        system: str,
        durable: str,
        ack_wait: float,
        timeout: float,
        max_ack_pending: int,
        around: Iterable[Interceptor],
    ) -> None:
        self.topic = subscription.topic
        self.durable = durable
        self.timeout = timeout
        self._subscription = subscription
        self._settler = settler
        self._concurrency = subscription.concurrency
        # The broker itself then holds back what comes after an unsettled event, for all instances of the service.
        max_ack_pending = 1 if subscription.ordered else max_ack_pending
        prefetch = max(16, 2 * subscription.concurrency) if subscription.prefetch is None else subscription.prefetch
        self.consumer = Consumer(subscription.topic, durable, ack_wait, max_ack_pending, min(prefetch, max_ack_pending))
        self._method = Method("event", "server", subscription.topic, system, "process", Kind.EVENT)
        self._chain = compose(around, self._method, self._innermost(handler))
        self._intake: Intake | None = None
        self._held: dict[tuple[str, int], _Held] = {}
        self._waiting: deque[_Held] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0
        self._draining = False

    async def start(self, backend: Backend) -> None:
        """Begin to take events in."""
        # Tasks begin in the context of the start: what publishes an event must not leak into its handling.
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._intake = await backend.subscribe(self.consumer, self._deliver)

    def _innermost(self, handler: Handler) -> Callable[[Call], Awaitable[None]]:
        with_call = takes_call(handler, self._subscription)

        async def handle(call: Call) -> None:
            delivery = call.transport
            if delivery.deliveries > 1 and (refusal := self._settler.refuses(delivery)) is not None:
                raise refusal
            try:
                if with_call:
                    await handler(call.request, call)
                else:
                    await handler(call.request)
            except asyncio.CancelledError:
                if not self._expired(call):
                    raise
                self._uncancel()
                raise self._too_slow() from None

        return handle

    # Taking in.

    def _deliver(self, delivery: Delivery) -> None:
        if self._draining:
            self._spawn(self._give_back(delivery))
            return
        key = (delivery.stream, delivery.sequence)
        held = self._held.get(key)
        if held is not None:
            # It took the one that is being worked on for lost; the newer delivery is the one to settle.
            held.delivery = delivery
            return
        held = self._held[key] = _Held(key, delivery, time.monotonic())
        if delivery.deliveries > 1:
            self._settler.redelivered()
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._sweep)
        if self._running < self._concurrency:
            self._begin(held)
        else:
            self._waiting.append(held)

    def _begin(self, held: _Held) -> None:
        self._running += 1
        held.task = self._loop.create_task(self._run(held), name=self.durable, context=self._context.copy())
        self._tasks.add(held.task)

    # Handling.

    async def _run(self, held: _Held) -> None:
        held.deadline = deadline = time.monotonic() + self.timeout
        error: ChassisError | None = None
        try:
            call = EventCall(self._method, held.delivery, self._subscription.message_type, deadline)
            enter(call)
            try:
                await self._chain(call)
            except asyncio.CancelledError:
                error = self._cut_off(held)
            except Exception as failure:
                error = self._meaning(call, failure)
            # The handler's time is over, and what is left to do has its own.
            held.deadline = call.deadline = None
            verdict = Verdict.ACK if error is None else await self._settler.judge(held.delivery, call, error)
            self._release(held)
            await self._settler.settle(held.delivery, call, verdict, error)
        except asyncio.CancelledError:
            self._release(held)
            await self._give_back(held.delivery)
            raise
        except Exception as failure:
            _log.error("handling an event on %s broke the event bus itself", self.topic, exc_info=failure)
        finally:
            # Whatever happened: an event that is held for ever would never come again.
            if not held.released:
                self._release(held)
            # Here and not in a callback of the task, which would cost a turn of the loop for each event.
            assert held.task is not None
            self._tasks.discard(held.task)
            self._running -= 1
            if self._waiting and not self._draining and not self._loop.is_closed():
                self._begin(self._waiting.popleft())

    def _cut_off(self, held: _Held) -> ChassisError:
        cut = self._uncancel()
        if held.expired:
            return self._too_slow()
        if cut:
            return CutOff("the service stopped before the handler was done")
        return Cancelled("the handler waited for something that was cancelled")

    def _meaning(self, call: EventCall, error: Exception) -> ChassisError:
        told = classify(error, call.request_id)
        if isinstance(told, Crash) and call.logged is None:
            call.logged = error
            fields = {"method": self.topic, "request_id": call.request_id, "event_id": call.event_id}
            _log.error("a handler crashed", exc_info=error, extra=fields)
        return told

    def _expired(self, call: Call) -> bool:
        held = self._held.get((call.transport.stream, call.transport.sequence))
        return held is not None and held.expired

    def _too_slow(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the handler did not finish within {self.timeout:g} s")

    @staticmethod
    def _uncancel() -> bool:
        # The task goes on, to settle the event. False if it was not cancelled itself, but what it waited for.
        cancelled = is_cancelled()
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
        return cancelled

    def _release(self, held: _Held) -> None:
        held.released = True
        if self._held.get(held.key) is held:  # and not one that came since
            del self._held[held.key]

    async def _give_back(self, delivery: Delivery) -> None:
        try:
            await delivery.nak()
        except Exception as error:  # it comes back by itself, after ack_wait
            _log.debug("an event on %s could not be given back: %s", self.topic, error)

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work, context=self._context.copy())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Signs of life, and the handler's deadline: one timer for all.

    @property
    def _interval(self) -> float:
        return min(self.consumer.ack_wait / 3, self.timeout)

    def _sweep(self) -> None:
        self._timer = None
        if not self._held:
            return
        now = time.monotonic()
        quiet = []
        wake = now + self._interval
        for held in self._held.values():
            if held.deadline is not None:
                if held.deadline <= now and held.task is not None:
                    held.expired = True
                    held.task.cancel()
                else:
                    wake = min(wake, held.deadline)
            # A little early, so that what was taken in at about the same time is told together.
            if now - held.signalled >= self.consumer.ack_wait / 4:
                held.signalled = now
                quiet.append(held.delivery)
            else:
                wake = min(wake, held.signalled + self.consumer.ack_wait / 3)
        if quiet:
            self._spawn(self._tell_alive(quiet))
        self._timer = self._loop.call_later(wake - now, self._sweep)

    async def _tell_alive(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            try:
                await delivery.in_progress()
            except Exception as error:  # told again in a while
                _log.debug("the broker was not told that an event on %s is being handled: %s", self.topic, error)

    # The end.

    async def drain(self, grace: float) -> list[str]:
        """Take nothing in, give back what was not begun, let handlers finish for `grace` seconds, then cut them off.

        Returns, in words, what was cut off.
        """
        until = asyncio.get_running_loop().time() + grace
        self._draining = True
        if (intake := self._intake) is not None:
            self._intake = None
            try:
                async with asyncio.timeout(max(grace, self.CUT_GRACE)):
                    await intake.stop()
            except Exception as error:
                _log.warning("taking in events on %s could not be stopped: %s", self.topic, error)
        waiting = list(self._waiting)
        self._waiting.clear()
        for held in waiting:
            self._release(held)
            await self._give_back(held.delivery)
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        finally:
            cut = await self._cut()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if self._background:
            await asyncio.wait(self._background, timeout=self.CUT_GRACE)
        return cut

    async def _cut(self) -> list[str]:
        left = [held for held in self._held.values() if held.task is not None and not held.task.done()]
        for held in left:
            assert held.task is not None
            held.task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.CUT_GRACE)
        for held in left:
            if self._held.get(held.key) is held:  # it will not end, or had not begun
                self._release(held)
                await self._give_back(held.delivery)
        return [f"the handler of {self.topic} ({self.durable}, event {held.delivery.sequence})" for held in left]
