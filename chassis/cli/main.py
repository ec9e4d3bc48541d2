from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chassis.version import __version__

DID_NOT_START: Final = 1
CONFIGURATION_ERROR: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    # The service is found as `python -m` would find it, from where the command was given.
    sys.path.insert(0, str(Path.cwd()))
    # Imported here: `--version` and `--help` answer at once.
    from chassis.cli.target import TargetError
    from chassis.component import StartError
    from chassis.config import ConfigurationError

    try:
        return int(options.command(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `chassis config | head`: nobody reads on, and nobody has to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except StartError as error:
        print(f"chassis: {error}", file=sys.stderr)
        return DID_NOT_START
    except TargetError as error:
        print(f"chassis: {error}", file=sys.stderr)
    except ConfigurationError as error:
        print("chassis: the configuration can not be used", file=sys.stderr)
        for line in (*error.warnings, *map(str, error.problems)):
            print(f"  {line}", file=sys.stderr)
    return CONFIGURATION_ERROR


def _run(options: argparse.Namespace) -> int:
    from chassis.cli.target import find_target
    from chassis.config import find_file
    from chassis.service import run

    cls = find_target(options.target)
    file = find_file(options.config, Path.cwd())
    if options.dev:
        from chassis.cli.dev import run_with_servers

        return run_with_servers(cls, file)
    return run(cls(cls.configure(file=file)))


def _config(options: argparse.Namespace) -> int:
    from chassis.cli.target import find_target, has_target
    from chassis.config import find_file
    from chassis.config.describe import table, template

    config, prefix, settings = None, "CQI", None
    if options.target or has_target():
        cls = find_target(options.target)
        file = find_file(options.config, Path.cwd())
        if options.dev:
            from chassis.cli.dev import configure_for_servers

            config = configure_for_servers(cls, file)
        else:
            config = cls.configure(file=file)
        prefix, settings = cls.env_prefix, cls.Settings
    show = template(prefix, settings, config) if options.format == "yaml" else table(config, prefix, settings)
    print(show, flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chassis", description="Run services built on cq-chassis.")
    parser.add_argument("--version", action="version", version=f"cq-chassis {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a service until SIGTERM or Ctrl-C")
    run.set_defaults(command=_run)
    config = commands.add_parser("config", help="show every option: default, meaning, and for a service its value")
    config.set_defaults(command=_config)
    config.add_argument("--format", choices=("table", "yaml"), default="table", help="yaml: a configuration file")
    for each in (run, config):
        each.add_argument(
            "target",
            nargs="?",
            metavar="MODULE:CLASS",
            help="the service; without it, [tool.chassis] service in pyproject.toml",
        )
        each.add_argument(
            "--config", type=Path, metavar="FILE", help="configuration file (./config.yaml if it is there)"
        )
        each.add_argument(
            "--dev",
            action="store_true",
            help="with real servers for the parts that have no address, data in .chassis; needs cq-chassis[dev]",
        )
    return parser
