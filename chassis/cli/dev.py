"""A service with real servers beside it, in the folder where the command was given."""

from __future__ import annotations

from pathlib import Path

from chassis.config import Config
from chassis.dev import DevServers, DevWatch, overrides_for, wanted_for
from chassis.dev.overrides import database_of
from chassis.dev.servers import FOLDER
from chassis.service import ServiceChassis, run


def run_with_servers(cls: type[ServiceChassis], file: Path | None) -> int:
    """Run a service with the servers that it needs and has no address of; returns the exit code.

    Raises ConfigurationError before anything is started, and DevError where a server can not be had.
    """
    config = cls.configure(file=file, dev=True)
    with DevServers(Path.cwd() / FOLDER, wanted_for(cls.uses, config)) as servers:
        addresses = overrides_for(servers, cls.uses, config)
        if "database.host" in addresses:
            servers.postgres.create_database(database_of(config))
        service = cls(cls.configure(file=file, dev=True, overrides=addresses))
        if len(servers):
            service.add(DevWatch(servers))
        return run(service)


def configure_for_servers(cls: type[ServiceChassis], file: Path | None) -> Config:
    """Give the configuration that `--dev` would run with; nothing is started."""
    config = cls.configure(file=file, dev=True)
    servers = DevServers(Path.cwd() / FOLDER, wanted_for(cls.uses, config))
    return cls.configure(file=file, dev=True, overrides=overrides_for(servers, cls.uses, config))
