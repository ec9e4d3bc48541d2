from __future__ import annotations

from chassis.component import StartError


class DevError(StartError):
    """A server for development could not be had; the text says which one, why, and what to do."""
