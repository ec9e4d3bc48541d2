"""The environment: `{PREFIX}_{SECTION}_{KEY}` for every knob, and `…_FILE` for secrets that are mounted as files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from chassis.config.foreign import reason_against_variable
from chassis.config.given import Given
from chassis.config.knobs import Catalogue
from chassis.config.problems import nearest, plain_key

LARGEST_SECRET: Final = 64 * 1024

_PREFIX = re.compile(r"[A-Z][A-Z0-9_]*(?<!_)")
_KUBERNETES = re.compile(
    r"(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_.*)"  # for a Kubernetes service with the very name of the prefix
    r"|.+_SERVICE_HOST|.+_SERVICE_PORT(_.*)?|.+_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"  # or that begins so
)
_KUBERNETES_LINK = re.compile(r"(tcp|udp|sctp)://.*")


def read_environment(
    prefix: str, catalogue: Catalogue, environ: Mapping[str, str]
) -> tuple[dict[str, Given], list[str]]:
    """Give what the environment has for each knob, and warnings for unknown variables.

    Raises ValueError for a prefix that no environment variable could have.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"an environment prefix is upper-case letters, digits and _, such as CQAR, not {prefix!r}")
    given: dict[str, Given] = {}
    variables = {knob.variable(prefix): knob for knob in catalogue.values()}
    files = {f"{name}_FILE": (name, knob) for name, knob in variables.items() if knob.secret}
    for name, knob in variables.items():
        if name in environ and not _linked(name, environ[name]):
            value = environ[name]  # asked once: os.environ makes a new text each time, and they have to be one
            given[knob.key] = Given(value, name, value)
    for file_name, (name, knob) in files.items():
        if file_name not in environ or file_name in variables:
            continue
        if name in environ:
            given[knob.key] = Given(None, file_name, problem=f"one source is expected: {name} is set, too")
            continue
        content, problem = _mounted(environ[file_name])
        given[knob.key] = Given(content, f"file named by {file_name}", problem=problem)
    return given, _warnings(prefix, [*variables, *files], environ)


def _linked(name: str, value: str) -> bool:
    """Whether Kubernetes set it, for a service whose name is the prefix and a section: `cqar-database`."""
    return name.endswith("_PORT") and _KUBERNETES_LINK.fullmatch(value) is not None


def _mounted(path: str) -> tuple[str | None, str | None]:
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such file"
        return None, f"a file that can be read is expected: {plain_key(path)}: {reason}"
    if len(content) > LARGEST_SECRET:
        return None, f"a file of at most {LARGEST_SECRET} bytes is expected: {plain_key(path)} is larger"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # Outside of the handler nothing of the content stays in an exception.
        text = None
    if text is None:
        return None, f"a file with text in UTF-8 is expected: {plain_key(path)} has other bytes"
    return re.sub(r"\r?\n\Z", "", text), None


def _warnings(prefix: str, known: list[str], environ: Mapping[str, str]) -> list[str]:
    lines = []
    for name in sorted(environ):
        suffix = name.removeprefix(f"{prefix}_")
        if suffix == name or name in known or _KUBERNETES.fullmatch(suffix) or _linked(name, environ[name]):
            continue
        reason = reason_against_variable(suffix)
        if reason is not None:
            lines.append(f"environment variable {plain_key(name)} is not used here: {reason}")
            continue
        near = nearest(name, known)
        hint = f"; {near} is the nearest known one" if near else ""
        lines.append(f"environment variable {plain_key(name)} is unknown and not used{hint}")
    return lines
