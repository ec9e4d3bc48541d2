"""What HTTP has a status of its own for: errors like those of `chassis.errors`, told more exactly here."""

from __future__ import annotations

import logging

from grpc import StatusCode

from chassis.errors import InvalidInput, Meaning, ResourceExhausted, Unimplemented, Verdict


class BodyTooLarge(ResourceExhausted):
    """The body is larger than the server takes."""

    meaning = Meaning(StatusCode.RESOURCE_EXHAUSTED, 413, Verdict.DEAD_LETTER, logging.INFO)


class HeaderTooLarge(ResourceExhausted):
    """The request line or the headers, one or all together, are longer than the server takes (RFC 6585, section 5)."""

    meaning = Meaning(StatusCode.RESOURCE_EXHAUSTED, 431, Verdict.DEAD_LETTER, logging.INFO)


class VerbNotAllowed(Unimplemented):
    """There is such a path, and it does not take this verb."""

    meaning = Meaning(StatusCode.UNIMPLEMENTED, 405, Verdict.DEAD_LETTER, logging.INFO)


class ExpectationFailed(InvalidInput):
    """The request expects of the server what it cannot do."""

    meaning = Meaning(StatusCode.INVALID_ARGUMENT, 417, Verdict.DEAD_LETTER, logging.INFO)
