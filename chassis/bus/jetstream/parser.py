from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

_log = logging.getLogger("chassis.bus")

Receive = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Called with subject, reply subject, payload and raw headers of each message, in the order of their arrival."""


def hand_over(receive: Receive, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
    """Hand a message over, and have a line in the log where that fails: it would end the reading of the connection."""
    try:
        receive(subject, reply, payload, headers)
    except Exception:
        _log.exception("a message of the event bus could not be taken in")


class MessageParser(Parser):
    """nats-py's parser, with a shorter way for what nearly all of the traffic is: messages that came whole.

    Those are cut out of what was read, and handed over one behind the other. All else, and the part of a message that
    stands at the end of what was read, is left to nats-py. `receivers` are known by the numbers of their subscriptions;
    messages for others are dropped.
    """

    def __init__(self, client: object, receivers: Mapping[int, Receive]) -> None:
        super().__init__(client)
        self._receivers = receivers

    async def parse(self, data: bytes = b"") -> None:
        """Take in what was read."""
        if self.state != AWAITING_CONTROL_LINE:
            # The rest of a message, which may be a large one: it is not to be copied for each part of it. All of it may
            # be to come, and look like a message itself.
            missing = self.needed + 2 - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        if data and (done := self._messages(data)) < len(data):
            await super().parse(data[done:])

    def _messages(self, data: bytes) -> int:
        """Hand over the messages that it begins with; returns where the first thing is that is none, or not whole."""
        receivers, begin, last = self._receivers, 0, len(data) - 2
        while (line := data.find(b"\r\n", begin)) >= 0:
            words = data[begin:line].split()
            body = line + 2
            try:
                # MSG subject number [reply] size, or HMSG subject number [reply] size-of-headers size-of-all
                kind, subject, number, *_, size = words
                end = body + int(size)
                if kind == b"MSG":
                    head, most = body, 5
                elif kind == b"HMSG":
                    head, most = body + int(words[-2]), 6
                else:
                    break
                if not body <= head <= end <= last or not most - 1 <= len(words) <= most:
                    break
                receive = receivers.get(int(number))
            except ValueError:  # nothing of this kind, or not as it should be: nats-py knows
                break
            begin = end + 2
            if receive is None:
                continue
            reply = words[3] if len(words) == most else b""
            try:
                receive(subject, reply, data[head:end], data[body:head] or None)
            except Exception:  # as in `hand_over`, without a function for each message
                _log.exception("a message of the event bus could not be taken in")
        return begin
