from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["chassis.testing.servers"]

# How long an example takes says something of the machine and its other work, and nothing of the code.
settings.register_profile("cq-chassis", deadline=None)
settings.load_profile("cq-chassis")
