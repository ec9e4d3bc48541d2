from __future__ import annotations

from tests.interceptors.echo_kit import recording, serving

__all__ = ["recording", "serving"]
