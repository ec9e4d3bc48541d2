from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from chassis.call import Call, Method, Proceed
from chassis.errors import ResourceExhausted
from chassis.limits import SlidingWindow, TokenBucket
from interceptors.interceptor import RpcInterceptor

_MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit, what has one of its own, and the methods that it is for.

    `per` is what calls are counted by: `("principal",)` gives each caller the limit for all methods together,
    `("method",)` each method for all callers together, both each caller for each method; `()` counts all calls
    together. Callers without a principal are counted by their host. `methods` are gRPC paths, HTTP routes or topics,
    with `*` for any text; empty for all.
    """

    limit: TokenBucket | SlidingWindow
    per: Collection[Literal["principal", "method"]] = ("principal", "method")
    methods: Collection[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.per, str) or not {*self.per} <= {"principal", "method"}:
            raise ValueError(f'per must be ("principal", "method"), one of them or (), not {self.per!r}')
        if isinstance(self.methods, str):
            raise ValueError(f"methods must be several paths, such as ({self.methods!r},), not one text")

    def covers(self, method: Method) -> bool:
        """Whether it is for this method."""
        return not self.methods or any(fnmatchcase(method.path, pattern) for pattern in self.methods)


class _Counters:
    """What is kept for one rule: of those who called lately, and of no more than `most` of them.

    There are two halves; whoever calls is in the young one. Each time that anybody would be forgotten, the old half is
    dropped and the young one becomes old: who is dropped has not called for so long, and nothing is ever looked for.
    """

    __slots__ = ("_most", "_old", "_others", "_rule", "_turn", "_young")

    def __init__(self, rule: Rule, most: int) -> None:
        self._rule = rule
        self._most = most
        self._young: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}
        self._others = rule.limit.new()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def of(self, key: Any, now: int) -> Any:
        if now >= self._turn:
            self._turn = now + self._rule.limit.forgotten_after
            self._old, self._young = self._young, {}
        if (found := self._young.get(key)) is not None:
            return found
        found = self._old.pop(key, None)
        if found is None:
            # Whoever comes when it is full shares one limit with all such: nobody gets a new one by pushing others out.
            if len(self) >= self._most:
                return self._others
            found = deepcopy(self._others)  # what somebody used up there is used up here
        self._young[key] = found
        return found


class RateLimitInterceptor(RpcInterceptor):
    """Refuses calls that are more than the rules allow (RESOURCE_EXHAUSTED, 429), and says when one would pass.

    >>> from chassis.limits import SlidingWindow, TokenBucket
    >>> limits = RateLimitInterceptor(
    ...     Rule(TokenBucket(rate=100, burst=20), per=("principal",)),
    ...     Rule(SlidingWindow(limit=5, window=60), methods=("/cqc.services.v1.VenueGateway/PlaceOrder",)),
    ... )

    A call has to pass all rules that are for it, and one that is refused counts for none. A stream is one call. Probes
    are never limited: a service that refuses them is restarted when it has the most to do. Paths that do not exist are
    one method, `unknown`. Handlers of events are not limited: an event that is refused too often becomes
    a dead letter, and their pace is set by `concurrency`. With `side="client"` it limits calls going out and events
    that are published; callers are then those on whose behalf that happens.

    `max_keys` callers of a rule are counted each by itself at a time. `clock` is in nanoseconds, and never goes back.
    """

    only_before = True

    def __init__(
        self,
        *rules: Rule,
        side: Literal["server", "client"] = "server",
        max_keys: int = 10_000,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not rules or max_keys < 1:
            raise ValueError("a rate limit needs a rule, and max_keys of 1 or more")
        self._counters = [(rule, _Counters(rule, max_keys)) for rule in rules]
        self._side = side
        self._clock = clock
        self._of_path: dict[str, list[tuple[Rule, _Counters]]] = {}

    def applies(self, method: Method) -> bool:
        if method.side != self._side or method.probe or (method.served and method.system == "event"):
            return False
        rules = self._of_path[method.path] = [each for each in self._counters if each[0].covers(method)]
        return bool(rules)

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        self._count(call)
        return proceed(call)

    def _count(self, call: Call) -> None:
        now = self._clock()
        wait, refusing, passed = 0, None, []
        for rule, counters in self._of_path[call.method.path]:
            counter = counters.of(_key(rule, call), now)
            passed.append(counter)
            if (needed := counter.wait(now)) > wait:
                wait, refusing = needed, rule
        if refusing is not None:
            each = " and ".join(refusing.per)
            raise ResourceExhausted(
                f"too many calls; the limit is {refusing.limit}{each and ' for each '}{each}",
                retry_after=(wait // _MILLISECOND + 1) / 1000,  # rounded up: what waits so long passes
            )
        for counter in passed:
            counter.take(now)


def _key(rule: Rule, call: Call) -> Any:
    method = (call.method.path, call.method.name) if "method" in rule.per else None
    if "principal" not in rule.per:
        return method
    served = call if call.method.served or call.parent is None else call.parent
    who = served.principal
    return method, (who.kind, who.id) if who is not None else served.peer.rpartition(":")[0]
