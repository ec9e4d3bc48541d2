from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, ClassVar

from chassis.bus.alone import Alone
from chassis.bus.backend import Backend, Consumer, Delivery, Intake
from chassis.bus.declaration import Handler, Subscription, takes_call
from chassis.bus.event import EventCall
from chassis.bus.held import Held, Key, SignsOfLife
from chassis.bus.verdict import CutOff, Settler
from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose, enter, is_cancelled
from chassis.errors import Cancelled, ChassisError, Crash, DeadlineExceeded, Verdict, classify

_log = logging.getLogger("chassis.bus")


class RunningSubscription:
    """One subscription at work: takes deliveries in, runs the handler on them, has them settled, and drains.

    Each event is handled in a task of its own, `concurrency` of them at a time, and alone where it came so often that
    it may be what ends the process. While one is here, waiting or being handled, the broker is told so, in time before
    `ack_wait` is over; a redelivery of it that comes all the same is not handled beside the first.
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
        self._limit = subscription.concurrency
        # The broker itself then holds back what comes after an unsettled event, for all instances of the service.
        max_ack_pending = 1 if subscription.ordered else max_ack_pending
        prefetch = max(16, 2 * subscription.concurrency) if subscription.prefetch is None else subscription.prefetch
        self.consumer = Consumer(subscription.topic, durable, ack_wait, max_ack_pending, min(prefetch, max_ack_pending))
        self._method = Method("event", "server", subscription.topic, system, "process", Kind.EVENT)
        self._chain = compose(around, self._method, self._innermost(handler))
        self._refusing = compose(around, self._method, self._refuse)
        self._starting = asyncio.Lock()
        self._intake: Intake | None = None
        self._held: dict[Key, Held] = {}
        self._signs = SignsOfLife(self._held, topic=self.topic, ack_wait=ack_wait, timeout=timeout, spawn=self._spawn)
        self._waiting: deque[Held] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._alone = Alone(
            settler,
            self._tasks,
            begin=self._begin_alone,
            spawn=self._spawn,
            postpone=self._postpone,
            done=self._go_on,
            patience=timeout + self.CUT_GRACE,
        )
        self._running = 0
        self._paused = self._draining = False

    async def start(self, backend: Backend) -> None:
        """Begin to take events in."""
        # Tasks begin in the context of the start: what publishes an event must not leak into its handling.
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        async with self._starting:
            intake = await backend.subscribe(self.consumer, self._deliver)
            if self._draining:  # since then: what it gives would be given back at once, and come again, for ever
                await intake.stop()
            else:
                self._intake = intake

    def _innermost(self, handler: Handler) -> Callable[[Call], Awaitable[None]]:
        with_call = takes_call(handler, self._subscription)

        async def handle(call: Call) -> None:
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

    async def _refuse(self, call: Call) -> None:
        raise self._settler.refusal(call.transport)

    # Taking in.

    def _deliver(self, delivery: Delivery) -> None:
        if self._draining:
            self._spawn(self._give_back(delivery))
            return
        key = (delivery.stream, delivery.sequence)
        held = self._held.get(key)
        if held is not None:
            if held.delivery.stored == delivery.stored:
                # It took the one that is being worked on for lost; the newer delivery is the one to settle.
                held.delivery = delivery
                return
            self._move(held)
        held = self._held[key] = Held(key, delivery, time.monotonic())
        if self._signs.timer is None:
            self._signs.begin()
        if delivery.deliveries > 1:
            self._settler.redelivered()
            if self._settler.doubts(delivery):
                self._limit, self._paused = 0, True
                self._alone.add(held)
                return
        if self._running < self._limit:
            self._begin(held)
        else:
            self._waiting.append(held)

    def _move(self, held: Held) -> None:
        # Its stream was made anew, and another event has its number now.
        del self._held[held.key]
        held.key = (*held.key[:2], held.delivery.stored)
        self._held[held.key] = held

    def _begin(self, held: Held, chain: Proceed | None = None) -> None:
        self._running += 1
        run = self._run(held, chain or self._chain)
        held.task = self._loop.create_task(run, name=self.durable, context=self._context.copy())
        self._tasks.add(held.task)

    def _begin_alone(self, held: Held, refused: bool) -> None:
        self._begin(held, self._refusing if refused else None)

    def _go_on(self) -> None:
        """Begin what waited while others were handled alone."""
        if self._draining or self._loop.is_closed():
            return
        self._limit, self._paused = self._subscription.concurrency, False
        while self._waiting and self._running < self._limit:
            self._begin(self._waiting.popleft())

    async def _postpone(self, held: Held, why: Exception) -> None:
        self._release(held)
        await self._settler.postpone(held.delivery, why)

    # Handling.

    async def _run(self, held: Held, chain: Proceed) -> None:
        held.deadline = deadline = time.monotonic() + self.timeout
        error: ChassisError | None = None
        try:
            call = EventCall(self._method, held.delivery, self._subscription.message_type, deadline)
            enter(call)
            try:
                await chain(call)
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
            if self._waiting and not self._paused and not self._loop.is_closed():
                self._begin(self._waiting.popleft())

    def _cut_off(self, held: Held) -> ChassisError:
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
        delivery = call.transport
        held = self._held.get((delivery.stream, delivery.sequence))
        if held is None or held.delivery.stored != delivery.stored:
            held = self._held.get((delivery.stream, delivery.sequence, delivery.stored))
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

    def _release(self, held: Held) -> None:
        held.released = True
        if self._held.get(held.key) is held:  # and not one that came since
            del self._held[held.key]

    async def _give_back(self, delivery: Delivery) -> None:
        try:
            await delivery.nak()
        except Exception as error:  # it comes back by itself, after ack_wait
            _log.debug("an event on %s could not be given back: %s", self.topic, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work, context=self._context.copy())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # The end.

    async def drain(self, grace: float) -> list[str]:
        """Take nothing in, give back what was not begun, let handlers finish for `grace` seconds, then cut them off.

        Returns, in words, what was cut off.
        """
        until = asyncio.get_running_loop().time() + grace
        self._draining = self._paused = True
        await self._alone.end()
        try:
            async with asyncio.timeout(max(grace, self.CUT_GRACE)), self._starting:
                intake, self._intake = self._intake, None
                if intake is not None:
                    await intake.stop()
        except Exception as error:
            _log.warning("taking in events on %s could not be stopped: %s", self.topic, error)
        waiting = [*self._alone.waiting, *self._waiting]
        self._alone.waiting.clear()
        self._waiting.clear()
        for held in waiting:
            self._release(held)
            await self._give_back(held.delivery)
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        finally:
            cut = await self._cut()
            self._signs.end()
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
