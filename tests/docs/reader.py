"""Does what the reader of a document does, block by block, and sees whether it is as the document says."""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from chassis.auth import from_config
from chassis.config import load
from chassis.dev.ports import Reservation
from tests.docs.document import Block, Step, blocks, pattern, steps
from tests.docs.terminal import PATIENCE, Service, Terminal

ROOT = Path(__file__).parents[2]

# The ports that documents speak of, which others may have taken here.
_PORT = re.compile(r"(?<![\w.])(900[01]|808[01])(?!\w)")
_PREFIX = re.compile(r'env_prefix = "(\w+)"')
# Targets of the Makefile that cannot run within a test run, or take too long: they are looked at, and not run.
_LOOKED_AT = {"test": "pytest", "bench": "tests.bench", "lint": "mypy"}


class Reader:
    """Reads one document in a folder of its own, beside a checkout (`cq-chassis`) that has its environment.

    `patience` is how many seconds a service has to write a line.
    """

    def __init__(self, text: str, folder: Path, name: str = "document", patience: float = PATIENCE) -> None:
        self._patience = patience
        document = list(blocks(text))
        # Reserved until the last line is read: what the document does first would give them to somebody else.
        self._ports = {port: Reservation() for port in set(_PORT.findall(text))}
        self._document = [replace(each, text=_PORT.sub(self._port, each.text)) for each in document]
        self._name = name
        self._names: dict[str, Any] = {"__name__": "document"}
        self._folder = folder
        checkout = folder / "cq-chassis"
        checkout.mkdir()
        (checkout / ".venv").symlink_to(sys.prefix)
        prefixes = {"CQI", *_PREFIX.findall(text)}
        self._terminal = Terminal(checkout, _environment(prefixes))

    def read(self) -> None:
        """Read all of it; raises AssertionError where something is not as the document says."""
        kinds: Mapping[str, Callable[[Block], None]] = {
            "console": self._type,
            "python": self._python,
            "yaml": self._yaml,
            "toml": self._toml,
            "json": self._log_line,
            "text": lambda block: None,  # a picture
        }
        try:
            for block in self._document:
                try:
                    assert block.language in kinds, f"nobody knows what to do with a block of {block.language!r}"
                    kinds[block.language](block)
                except BaseException as error:
                    error.add_note(f"{self._name}, line {block.line}")
                    raise
            for service in list(self._terminal.running):
                assert self._terminal.end(service) == 0, service.lines
        finally:
            self._terminal.close()
            for reservation in self._ports.values():
                reservation.close()

    def _port(self, documented: re.Match[str]) -> str:
        return str(self._ports[documented[0]].port)

    # What is typed.

    def _type(self, block: Block) -> None:
        every = list(steps(block.text))
        for step, following in zip(every, [*every[1:], None], strict=True):
            asks_for_status = following is not None and following.typed == "echo $?"
            if step.typed == "^C":
                service = self._terminal.running[-1]
                seen = len(service.lines)
                assert self._terminal.end(service, signal.SIGINT) == 0, service.lines
                self._check_lines(service, step.shown, seen)
                continue
            if step.typed.startswith("make "):
                status, output = _make(step.typed.removeprefix("make "))
            elif re.search(r"\bchassis run\b", step.typed):
                service = self._terminal.start(step.typed)
                if not service.ended:
                    self._check_lines(service, step.shown)
                    continue
                status, output = self._terminal.end(service), "\n".join(service.lines)
                self._terminal.run(f"(exit {status})")
            else:
                status, output = self._terminal.run(step.typed)
            assert status == 0 or asks_for_status, f"{step.typed!r} ended with {status}: {output}"
            _check_output(step, output)

    def _check_lines(self, service: Service, shown: tuple[str, ...], at: int = 0) -> None:
        for line in shown:
            wanted = pattern((line,))
            found = service.wait(_matches(wanted), at, self._patience)
            assert found is not None, f"the service did not write {line!r}: {service.lines}"
            at = found + 1

    # What is written.

    def _python(self, block: Block) -> None:
        if block.mark:
            self._write(block)
            return
        with _in_folder(self._terminal.folder):
            if ">>>" in block.text:
                _doctest(block, self._names, self._name)
            else:
                code = compile(block.text, f"{self._name}:{block.line}", "exec", dont_inherit=True)
                exec(code, self._names)

    def _yaml(self, block: Block) -> None:
        if block.mark == "file":
            self._write(block)
        elif block.mark == "manifest":
            self._manifest(block)
        else:
            path = self._folder / f"line-{block.line}.yaml"
            path.write_text(block.text, encoding="utf-8")
            config = load(file=path, environ={}, defaults={"service.name": "document"})
            from_config(config.auth)

    def _manifest(self, block: Block) -> None:
        """The variables that it sets have to be those of a configuration that can be loaded."""
        variables = {}
        for each in _environments(list(yaml.safe_load_all(block.text))):
            value = each.get("value", "a-value-from-elsewhere")
            if each["name"].endswith("_FILE"):
                path = self._folder / each["name"]
                path.write_text("a-value-from-elsewhere\n", encoding="utf-8")
                value = str(path)
            variables[each["name"]] = value
        assert variables, "the manifest sets no variables"
        assert all(name.startswith(f"{block.value}_") for name in variables)
        config = load(prefix=block.value, environ=variables, defaults={"service.name": "document"})
        assert config.warnings == ()

    def _toml(self, block: Block) -> None:
        tomllib.loads(block.text)
        self._write(block)

    def _write(self, block: Block) -> None:
        assert block.mark == "file", f"a block of {block.language} needs the name of its file above it"
        path = self._terminal.folder / block.value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    # What is looked at.

    def _log_line(self, block: Block) -> None:
        """A line that a service which runs has written, or will soon."""
        expected = json.loads(block.text)
        services = self._terminal.running
        assert services, "there is no service whose line this could be"
        assert any(
            service.wait(lambda line: _alike(_object(line), expected), patience=self._patience) is not None
            for service in services
        ), f"no such line: {[line for service in services for line in service.lines]}"


def _environment(prefixes: set[str]) -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")
        and not name.startswith(tuple(f"{p}_" for p in prefixes))
    }
    tools = (Path(__file__).parent / "bin", Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([*map(str, tools), environment.get("PATH", "")])
    environment["NO_COLOR"] = "1"
    # No load balancer is to be waited for.
    return environment | {f"{prefix}_SERVER_DRAIN_DELAY": "0s" for prefix in prefixes}


def _make(arguments: str) -> tuple[int, str]:
    """Run a target of the Makefile in the environment that the tests run in, which is taken as it is."""
    target = arguments.split()[-1]
    command = ["make", "--no-print-directory", f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.ready", target]
    if target in _LOOKED_AT:
        command.append("--dry-run")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"DEMO_ONCE": "1"}, capture_output=True, text=True, check=False
    )
    if target in _LOOKED_AT:
        assert _LOOKED_AT[target] in done.stdout, f"make {target} does not run {_LOOKED_AT[target]}"
        return done.returncode, ""
    return done.returncode, done.stdout + done.stderr


def _check_output(step: Step, output: str) -> None:
    if step.shown:
        text = "".join(f"{line.rstrip()}\n" for line in output.splitlines())
        assert pattern(step.shown).fullmatch(text), f"{step.typed!r} wrote something else:\n{output}"


def _matches(wanted: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda line: wanted.fullmatch(f"{line}\n") is not None


def _object(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _alike(line: object, expected: object) -> bool:
    if isinstance(expected, dict) and isinstance(line, dict):
        return line.keys() == expected.keys() and all(_alike(line[name], value) for name, value in expected.items())
    if isinstance(expected, str) and "…" in expected:
        parts = map(re.escape, expected.split("…"))
        return re.fullmatch(".*".join(parts), str(line), re.DOTALL) is not None
    return line == expected


def _environments(node: object) -> Iterator[dict[str, Any]]:
    """The variables of all containers of a manifest."""
    if isinstance(node, dict):
        yield from node.get("env", ())
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _environments(each)


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Work in the reader's folder, and forget the modules that came from there."""
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


def _doctest(block: Block, names: dict[str, Any], document: str) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, names, f"{document}:{block.line}", document, block.line)
    test.globs = names
    said: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
    assert outcome.failed == 0, "".join(said)
