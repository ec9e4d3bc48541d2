"""How often an event was tried: known of many, and bounded."""

from __future__ import annotations

import pytest

from chassis.bus.tries import Tries
from tests.chassis.bus.test_consumer import Delivered


def test_what_failed_is_counted_by_event_and_what_others_say_is_taken_where_it_is_more() -> None:
    tries, first, second = Tries(), Delivered(sequence=1), Delivered(sequence=2)
    assert tries.of(first) == 0
    assert [tries.one_more(first), tries.one_more(first), tries.one_more(second)] == [1, 2, 1]
    assert [tries.at_least(first, 1), tries.at_least(second, 5), tries.one_more(second)] == [2, 5, 6]


def test_another_event_of_the_same_number_is_counted_by_itself() -> None:
    tries, old, new = Tries(), Delivered(), Delivered()
    new.stored = b"later"
    tries.one_more(old)
    assert tries.of(new) == 0


def test_no_more_events_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tries, "MAX", 2)
    tries, events = Tries(), [Delivered(sequence=number) for number in (1, 2, 3)]
    for event in (*events[:2], events[0], events[2]):
        tries.one_more(event)
    assert [tries.of(event) for event in events] == [2, 0, 1]
