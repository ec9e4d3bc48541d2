from __future__ import annotations

from dataclasses import dataclass

DEAD_LETTER_PREFIX = "cqi.dlq"
"""Dead letters are published on `cqi.dlq.{service}.{event_type}`."""

DAY = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Where a broker keeps what is published: its name, the subjects that it takes, and for how many seconds.

    >>> Stream("orders", ("acme.orders.>",)).takes("acme.orders.v1.order_shipped")
    True
    """

    name: str
    subjects: tuple[str, ...]
    max_age: float = DAY

    def takes(self, subject: str) -> bool:
        """Whether one of its subjects, which may end in `.>`, covers this one."""
        return any(
            subject.startswith(each[:-1]) and len(subject) >= len(each) if each.endswith(".>") else subject == each
            for each in self.subjects
        )


def streams_for(stream_name: str = "cqc_events") -> tuple[Stream, ...]:
    """The streams of the platform: events for a day, and dead letters for fourteen, in `{stream_name}_dlq`.

    >>> [(stream.name, stream.subjects) for stream in streams_for()]
    [('cqc_events', ('cqc.events.v1.>',)), ('cqc_events_dlq', ('cqi.dlq.>',))]
    """
    return (
        Stream(stream_name, ("cqc.events.v1.>",)),
        Stream(f"{stream_name}_dlq", (f"{DEAD_LETTER_PREFIX}.>",), 14 * DAY),
    )
