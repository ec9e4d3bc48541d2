"""The code blocks of a Markdown document, in the order in which a reader meets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"```(\w*)")
_MARK = re.compile(r"<!-- (file|manifest): (\S+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text, the line it begins on, and the mark above it, if there is one.

    | mark | |
    |---|---|
    | `<!-- file: assets.py -->` | the reader writes this file |
    | `<!-- manifest: CQAR -->` | a Kubernetes manifest, for a service with this prefix of its variables |
    """

    language: str
    text: str
    line: int
    mark: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What a reader types in a terminal (`^C` is the key), and what he sees then."""

    typed: str
    shown: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """All fenced blocks; raises ValueError for one that does not end, or has more than a language behind its fence."""
    lines = iter(enumerate(text.splitlines(), 1))
    above = ""
    for number, line in lines:
        if line.lstrip().startswith(("```", "~~~")):
            fence = _FENCE.fullmatch(line)
            if fence is None:
                raise ValueError(f"line {number}: a fence and a language is expected, not {line!r}")
            body = []
            for _, inner in lines:
                if inner == "```":
                    break
                body.append(inner)
            else:
                raise ValueError(f"line {number}: the block does not end")
            mark = _MARK.fullmatch(above)
            if above.startswith("<!--") and mark is None:
                raise ValueError(f"line {number}: {above!r} marks nothing; there are file and manifest")
            found = mark.groups() if mark else ("", "")
            yield Block(fence[1], "\n".join(body) + "\n", number, *found)
        above = line


def steps(text: str) -> Iterator[Step]:
    """What a console block has its reader do; `> ` goes on with a command that began above."""
    typed: str | None = None
    shown: list[str] = []
    for line in text.splitlines():
        if line.startswith("> ") and typed is not None and not shown:
            typed += "\n" + line[2:]
        elif line.startswith("$ ") or line == "^C":
            if typed is not None:
                yield Step(typed, tuple(shown))
            typed, shown = line.removeprefix("$ "), []
        elif typed is None:
            raise ValueError(f"nobody typed anything before {line!r}: commands begin with '$ '")
        else:
            shown.append(line)
    if typed is None:
        raise ValueError("a console block without a command")
    yield Step(typed, tuple(shown))


def pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """What output has to look like: `…` stands for any text within a line, alone on a line for any number of lines.

    How many spaces there are between two words does not matter: it is how tables keep their columns apart.
    """
    parts = []
    for line in shown:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            text = ".*".join(re.escape(part) for part in line.rstrip().split("…"))
            parts.append(re.sub(r"(\\ )+", " +", text) + r"[ \t]*\n")
    return re.compile("".join(parts))
