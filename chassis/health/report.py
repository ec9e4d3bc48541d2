from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any


class State(enum.Enum):
    """How far a service is in its life; only one that is `READY` can be ready."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one part answered; `error` is fit to be shown, and None where the part works."""

    name: str
    error: str | None = None
    required: bool = True

    def to_dict(self) -> dict[str, str]:
        """As the health endpoints show it."""
        if self.error is None:
            return {"status": "ok"}
        return {"status": "error", "message": self.error if self.required else f"degraded: {self.error}"}


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the shapes of the platform's health endpoints."""

    state: State
    checks: tuple[CheckResult, ...]
    stuck: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the service should be sent work."""
        return self.state is State.READY and all(check.error is None or not check.required for check in self.checks)

    def readiness(self) -> dict[str, Any]:
        """The body of `/health/ready`; a service that starts or drains says so as a check named `service`."""
        checks = {check.name: check.to_dict() for check in self.checks}
        if self.state is not State.READY:
            checks["service"] = {"status": "error", "message": f"the service is {self.state.value}"}
        return {"status": "healthy" if self.ready else "unhealthy", "checks": checks}

    def readiness_json(self) -> bytes:
        """The body of `/health/ready` as it is sent."""
        return to_json(self.readiness())

    def combined_json(self) -> bytes:
        """The body of `/health` as it is sent."""
        return to_json({"liveness": liveness(self.stuck)["status"], "readiness": self.readiness()})


def liveness(stuck: str | None) -> dict[str, str]:
    """The body of `/health/live`; `stuck` is why the process should be restarted, or None.

    >>> liveness(None)
    {'status': 'alive'}
    """
    return {"status": "alive"} if stuck is None else {"status": "stuck", "message": stuck}


def to_json(body: object) -> bytes:
    """A health body as the Go sibling encodes it: compact, with a newline at the end.

    >>> to_json({"status": "alive"})
    b'{"status":"alive"}\\n'
    """
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
