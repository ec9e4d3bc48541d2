"""The servers that more than one suite measures."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.suite import Variant

BARE = Variant("bare grpc.aio + uvloop", "bare")
PLAIN = Variant("bare grpc.aio", "bare", "asyncio")

FULL = Variant("chassis, all concerns, tracing 0.1", "chassis_service", settings={"tracing": 0.1})
ALWAYS = Variant("chassis, all concerns, tracing always", "chassis_service", settings={"tracing": 1})
# gRPC has two ways to read from its connections, and a switch between them that it does not promise to keep.
_OTHER_LISTENER = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
BARE_SWITCHED = replace(BARE, name="bare grpc.aio + uvloop, gRPC's other listener", environment=_OTHER_LISTENER)
FULL_SWITCHED = replace(FULL, name=f"{FULL.name}, gRPC's other listener", environment=_OTHER_LISTENER)
UNTRACED = Variant("chassis, tracing off", "chassis_service", settings={"tracing": None})

REMEMBERING = Variant(
    "by hand, token cache, tracing 0.1, uvloop", "by_hand", settings={"tracing": 0.1, "remember": True}
)
REMEMBERING_ALWAYS = Variant(
    "by hand, token cache, tracing always, uvloop", "by_hand", settings={"tracing": 1, "remember": True}
)
VERIFYING = Variant(
    "by hand, RS256 each call, tracing 0.1, uvloop", "by_hand", settings={"tracing": 0.1, "remember": False}
)
VERIFYING_PLAIN = Variant(
    "by hand, RS256 each call, tracing 0.1", "by_hand", "asyncio", {"tracing": 0.1, "remember": False}
)
VERIFYING_ALWAYS = Variant(
    "by hand, RS256 each call, tracing always", "by_hand", "asyncio", {"tracing": 1, "remember": False}
)
