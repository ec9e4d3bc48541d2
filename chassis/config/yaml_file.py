"""The configuration file: YAML, of which only the structure is YAML's; what a text means, the type of its knob says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chassis.config.foreign import reason_against, section_called
from chassis.config.given import Given, expand
from chassis.config.knobs import Catalogue
from chassis.config.leaves import Mismatch
from chassis.config.problems import ConfigurationError, Problem, nearest, plain_key

if TYPE_CHECKING:
    import yaml

LARGEST_FILE: Final = 1024 * 1024
FILE_NAME: Final = "config.yaml"

_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "seq", "map")
)
_NULL: Final = "tag:yaml.org,2002:null"
_QUOTES_HINT: Final = "a text with : # * & ! % @ { [ or a quote in it belongs in quotes"


def find_file(explicit: str | Path | None = None, cwd: Path | None = None) -> Path | None:
    """Give the file to read: `explicit`, which has to be there; else `config.yaml` in `cwd`, if there is one.

    Raises ConfigurationError where `explicit` is no file.
    """
    if explicit is not None:
        path = Path(explicit)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ConfigurationError([Problem("configuration file", plain_key(str(explicit)), f"it {what}")])
        return path
    path = Path(FILE_NAME) if cwd is None else cwd / FILE_NAME
    return path if path.is_file() else None


def read_file(path: Path, catalogue: Catalogue, environ: Mapping[str, str]) -> tuple[dict[str, Given], list[Problem]]:
    """Give what the file has for each knob, and all that is wrong with the file itself."""
    name = plain_key(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        return {}, [Problem("configuration file", name, f"it cannot be read: {error.strerror or 'no such file'}")]
    if len(content) > LARGEST_FILE:
        return {}, [Problem("configuration file", name, f"at most {LARGEST_FILE} bytes are read")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return {}, [Problem("configuration file", f"{name}:{line}", "text in UTF-8 is expected")]
    root, problems = _compose(text, name)
    if root is None:
        return {}, problems
    return _Walk(catalogue, name, environ).all(root)


def _compose(text: str, name: str) -> tuple[yaml.Node | None, list[Problem]]:
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), []
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        # What the parser quotes may be the end of a password, so only what it says without quoting is passed on.
        said = error.problem or ""
        detail = f"; {said}" if said and "'" not in said and '"' not in said else ""
        return None, [Problem("configuration file", where, f"readable YAML is expected{detail} ({_QUOTES_HINT})")]
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        return None, [Problem("configuration file", f"{name}:{line}", "text without control characters is expected")]
    except (yaml.YAMLError, RecursionError, ValueError):
        return None, [Problem("configuration file", name, "YAML with fewer levels is expected")]


class _Walk:
    """One reading of a file's tree along the catalogue of knobs."""

    def __init__(self, catalogue: Catalogue, name: str, environ: Mapping[str, str]) -> None:
        self._catalogue = catalogue
        self._name = name
        self._environ = environ
        self._given: dict[str, Given] = {}
        self._problems: list[Problem] = []

    def all(self, root: yaml.Node) -> tuple[dict[str, Given], list[Problem]]:
        if root.tag != _NULL:
            self._section("", root)
        return self._given, self._problems

    def _origin(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"

    def _problem(self, key: str, node: yaml.Node, message: str) -> None:
        self._problems.append(Problem(plain_key(key) or "configuration file", self._origin(node), message))

    def _section(self, path: str, node: Any) -> None:
        if node.tag == _NULL:
            return
        if node.id != "mapping":
            what = f"a mapping of options such as {self._example(path)}" if path else "a mapping of sections"
            self._problem(path, node, f"{what} is expected")
            return
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            if key_node.id != "scalar":
                self._problem(path, key_node, "keys that are text are expected")
                continue
            key = f"{path}.{key_node.value}" if path else key_node.value
            if key in lines:
                self._problem(key, key_node, f"each key is expected once: it is already on line {lines[key]}")
                continue
            lines[key] = key_node.start_mark.line + 1
            self._entry(key, key_node, value)

    def _example(self, path: str) -> str:
        return next((name for name, _ in self._catalogue.of(path)), "name")

    def _entry(self, key: str, key_node: yaml.Node, value: yaml.Node) -> None:
        if key in self._catalogue:
            try:
                plain, written = self._plain(value, {})
            except Mismatch as mismatch:
                self._given[key] = Given(None, self._origin(key_node), problem=mismatch.expected)
                return
            self._given[key] = Given(plain, self._origin(key_node), written)
        elif key in self._catalogue.classes:
            self._section(key, value)
        else:
            self._problem(key, key_node, self._unknown(key))

    def _unknown(self, key: str) -> str:
        reason = reason_against(key)
        if reason is not None:
            return f"not used here: {reason}"
        if key == "<<" or key.endswith(".<<"):
            return "merge keys are not read: write the options out"
        if key == "settings":
            return "this service has no settings of its own"
        near = section_called(key) or nearest(key, [*self._catalogue, *self._catalogue.classes])
        return f"unknown key{f'; {near} is the nearest one' if near else ''}"

    def _plain(self, node: Any, seen: dict[int, tuple[Any, ...] | None]) -> tuple[Any, ...]:
        """Give a node as plain data, and what may be shown of it; a node that is named twice is made once."""
        known = seen.get(id(node), ())
        if known is None:
            raise Mismatch("a value that does not hold itself is expected")
        if known:
            return known
        seen[id(node)] = None
        made = self._made(node, seen)
        seen[id(node)] = made
        return made

    def _made(self, node: Any, seen: dict[int, tuple[Any, ...] | None]) -> tuple[Any, ...]:
        if node.tag not in _PLAIN_TAGS:
            raise Mismatch(f"a plain value is expected: YAML tags are not read ({_QUOTES_HINT})")
        if node.id == "scalar":
            if node.tag == _NULL:
                return None, None
            text = expand(node.value, self._environ)
            return text, (text if text == node.value else node.value)
        if node.id == "sequence":
            parts = [self._plain(item, seen) for item in node.value]
            return _collected([part[0] for part in parts], parts)
        return self._mapping(node, seen)

    def _mapping(self, node: Any, seen: dict[int, tuple[Any, ...] | None]) -> tuple[Any, ...]:
        found: dict[str, Any] = {}
        parts = []
        for key_node, value in node.value:
            if key_node.id != "scalar" or key_node.value in found:
                raise Mismatch("a mapping that has each name once, as text, is expected")
            part = self._plain(value, seen)
            parts.append(part)
            found[key_node.value] = part[0]
        return _collected(found, parts)


def _collected(value: Any, parts: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """A list or mapping may be shown as it is only if no variable was replaced in any part of it."""
    as_written = all(part[0] is part[1] for part in parts)
    return value, (value if as_written else [])
