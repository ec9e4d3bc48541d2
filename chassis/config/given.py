"""A value as it was given, before it is known to be any good, and where it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chassis.config.leaves import Mismatch

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Given:
    """The value of a knob from one source; `written` is what messages may show of it, if it is no secret.

    Where the source had a value that could not be made out, `problem` says what was expected; it counts only if no
    source with precedence has a better one.
    """

    value: Any = field(repr=False)
    origin: str
    written: Any = field(repr=False, default=None)
    problem: str | None = None


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${VAR}` and `${VAR:-default}` by what `environ` has; `$${` is a plain `${`.

    The default counts where the variable is unset or empty, as in a shell. What comes in is not expanded again.
    Raises Mismatch for a variable that is not set, and for a `${` that is no such reference.

    >>> expand("${HOST:-localhost}:${PORT}", {"PORT": "5432"})
    'localhost:5432'
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        reference = _VARIABLE.fullmatch(match[1])
        if reference is None or not match[2] or "${" in match[1]:
            raise Mismatch("${NAME} or ${NAME:-default} is expected: a plain ${ is written $${")
        name, default = reference[1], reference[2]
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise Mismatch(f"a value for ${{{name}}} is expected: that environment variable is not set")
        return environ[name]

    return _REFERENCE.sub(value, text)
