"""Every interceptor, on every kind of RPC in both styles of handlers, in every way to end, with and without auth.

What is recorded must be what was on the wire: in the log, in the metric and on the span.
"""

from __future__ import annotations

import itertools

import pytest

from chassis.call import Kind
from chassis.testing.echo import OUTCOME_KEY
from tests.matrix.endings import ENDINGS, INTERNAL_ERROR, KINDS, WITHOUT_CREDENTIALS, Ending
from tests.matrix.playing import Servers
from tests.matrix.records import disagreements
from tests.matrix.stacks import AUTH_ALONE, STACKS, STYLES, Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _cells() -> list[object]:
    cells: list[object] = []
    for stack, style, auth in itertools.product([*STACKS, AUTH_ALONE], STYLES, (False, True)):
        if stack is AUTH_ALONE and not auth:
            continue
        for ending, kind in itertools.product([*ENDINGS, *(WITHOUT_CREDENTIALS if auth else [])], KINDS):
            name = f"{stack}, {style}, auth {'on' if auth else 'off'}, {ending}, {kind.value}"
            cells.append(pytest.param(stack, style, auth, ending, kind, id=name))
    return cells


@pytest.mark.parametrize(("stack", "style", "auth", "ending", "kind"), _cells())
async def test_all_records_of_a_call_say_what_was_on_the_wire(
    servers: Servers, stack: Stack, style: str, auth: bool, ending: Ending, kind: Kind
) -> None:
    server = await servers.get(stack, style, auth=auth)
    played = await server.play(kind, ending)
    answer = played.answer

    assert answer.code is ending.code, answer.message
    assert disagreements(played.records, stack.present) == []
    if ending.message == INTERNAL_ERROR:
        assert answer.message == INTERNAL_ERROR + answer.request_id  # and nothing of what was raised
    elif ending.message is not None:
        assert answer.message.startswith(ending.message)
    assert (OUTCOME_KEY in dict(answer.trailers)) == ending.trailer
