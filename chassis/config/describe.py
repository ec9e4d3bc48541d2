"""A configuration that explains itself: what `chassis config` prints.

>>> print(template("CQAR"))  # doctest: +ELLIPSIS
# Configuration of a service...
"""

from __future__ import annotations

import json
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import reduce
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from chassis.config.knobs import REQUIRED, Catalogue, Knob, fields_of, is_class, type_name
from chassis.config.load import DEFAULT_PREFIX, DEV_DEFAULTS, SERVICE_ORIGIN, Config, catalogue_of
from chassis.config.quantities import ByteSize, Duration, format_duration, format_size
from chassis.config.secret import Secret

_WIDTH: Final = 118
_LONGEST_TYPE: Final = 30
_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./-]*")
_NULLS: Final = frozenset({"null", "Null", "NULL"})

_MANNER: Final = (
    "Durations have a unit: 30s, 5m, 1h30m, 100ms; 0 needs none.",
    "Byte sizes are numbers or have a unit: 65536, 64KiB, 4MiB.",
    "Booleans are true or false; yes, no, on, off, 1 and 0 will do.",
    "In variables, lists have commas or are JSON ([...]), mappings are JSON ({...}).",
    "In the file, ${NAME} and ${NAME:-default} are replaced by the environment; a plain ${ is $${.",
)


def table(config: Config | None = None, prefix: str = DEFAULT_PREFIX, settings_type: type | None = None) -> str:
    """Give every knob with type, default, documentation and variable; of `config`, also its values and their origins.

    Secrets are masked. With a `config`, its own prefix and settings count.
    """
    catalogue, prefix = _catalogue(config, prefix, settings_type)
    lines: list[str] = []
    for path, cls in catalogue.classes.items():
        knobs = _knobs_of(catalogue, path)
        if not knobs:
            continue
        lines += [f"{path}: {_summary(cls)}", ""]
        rows = [_row(knob, config) for knob in knobs]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for knob, row in zip(knobs, rows, strict=True):
            lines.append("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            lines += textwrap.wrap(_told(knob, prefix), _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines.append("")
    lines += ["How values are written", "", *(f"  {line}" for line in _manner(prefix))]
    if config is not None and config.warnings:
        lines += ["", "Warnings", "", *(f"  {line}" for line in config.warnings)]
    return "\n".join(lines) + "\n"


def template(prefix: str = DEFAULT_PREFIX, settings_type: type | None = None, config: Config | None = None) -> str:
    """Give a configuration file in YAML with every knob as a comment, its documentation above it.

    Of `config`, the values that are no defaults are written out; secrets are left as comments, masked.
    """
    catalogue, prefix = _catalogue(config, prefix, settings_type)
    lines = ["# Configuration of a service. What is commented out has its default.", "#"]
    lines += [f"# {line}" for line in _manner(prefix)]
    for path, cls in catalogue.classes.items():
        depth = path.count(".")
        lines += ["", *_comment(_summary(cls), depth), f"{'  ' * depth}{path.rpartition('.')[2]}:"]
        for knob in _knobs_of(catalogue, path):
            lines += [*_comment(_told(knob, prefix), depth + 1), f"{'  ' * (depth + 1)}{_entry(knob, config)}"]
    return "\n".join(lines) + "\n"


def value_of(config: Config, key: str) -> Any:
    """Give the value of a knob by its dotted key, such as `database.host`."""
    return reduce(getattr, key.split("."), config)


def written(value: Any, annotation: Any) -> str:
    """Write a value as a file would have it, secrets masked.

    >>> written(5400.0, Duration), written(4194304, ByteSize), written(("a", "b c"), tuple[str, ...])
    ('1h30m', '4MiB', '[a, "b c"]')
    """
    if value is None:
        return "null"
    if isinstance(value, Secret):
        return _text(str(value)) if value else '""'
    if annotation == Duration:
        return format_duration(value)
    if annotation == ByteSize:
        return format_size(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return _text(value.name.lower())
    if isinstance(value, str | Path):
        return _text(str(value))
    if isinstance(value, list | tuple | set | frozenset):
        item = _item(annotation)
        return f"[{', '.join(written(part, item) for part in value)}]"
    if isinstance(value, Mapping):
        item = _item(annotation)
        return f"{{{', '.join(f'{_text(str(name))}: {written(part, item)}' for name, part in value.items())}}}"
    if is_class(type(value)):
        parts = (
            f"{field.name}: {written(getattr(value, field.attribute), field.annotation)}"
            for field in fields_of(type(value))
        )
        return f"{{{', '.join(parts)}}}"
    return str(value)


def _catalogue(config: Config | None, prefix: str, settings_type: type | None) -> tuple[Catalogue, str]:
    if config is None:
        return catalogue_of(settings_type), prefix
    return catalogue_of(None if config.settings is None else type(config.settings)), config.prefix


def _item(annotation: Any) -> Any:
    """The type of what is in a list, or of the values of a mapping."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return next((_item(argument) for argument in arguments if argument is not type(None)), None)
    if origin is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _text(text: str) -> str:
    text = text.replace("${", "$${")
    return text if _PLAIN.fullmatch(text) and text not in _NULLS else json.dumps(text)


def _knobs_of(catalogue: Catalogue, path: str) -> list[Knob]:
    return [catalogue[key] for _, key in catalogue.of(path) if key in catalogue]


def _summary(cls: type) -> str:
    # A dataclass without a docstring gets its signature for one, which tells an operator nothing.
    doc = (cls.__doc__ or "").strip().partition("\n")[0]
    return "The service's own options." if not doc or doc.startswith(f"{cls.__name__}(") else doc


def _default(knob: Knob) -> str:
    if knob.default_doc is not None:
        return knob.default_doc
    if knob.default is REQUIRED:
        return "required"
    default = "none" if knob.default is None else written(knob.default, knob.annotation)
    if knob.key in DEV_DEFAULTS:
        default += f" ({written(DEV_DEFAULTS[knob.key], knob.annotation)} with --dev)"
    return default


def _row(knob: Knob, config: Config | None) -> list[str]:
    kind = type_name(knob.annotation)
    row = [knob.key, "choice" if len(kind) > _LONGEST_TYPE and " | " in kind else kind, _default(knob)]
    if config is not None:
        row += [f"= {written(value_of(config, knob.key), knob.annotation)}", f"({config.origins[knob.key]})"]
    return row


def _told(knob: Knob, prefix: str) -> str:
    variable = knob.variable(prefix)
    kind = type_name(knob.annotation)
    expected = f" One of: {kind.replace(' | ', ', ')}." if len(kind) > _LONGEST_TYPE and " | " in kind else ""
    expected += f" Expected: {knob.check.expected.rstrip(',')}." if knob.check is not None else ""
    return f"{knob.doc}{expected} [{variable}{f' or {variable}_FILE' if knob.secret else ''}]".strip()


def _comment(text: str, depth: int) -> list[str]:
    indent = "  " * depth + "# "
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _entry(knob: Knob, config: Config | None) -> str:
    name = knob.key.rpartition(".")[2]
    if config is None or (config.is_default(knob.key) and config.origins[knob.key] != SERVICE_ORIGIN):
        default = "" if knob.default is REQUIRED else written(knob.default, knob.annotation)
        if knob.default_doc is not None:
            default = f"# {knob.default_doc}"
        return f"# {name}: {default}".rstrip()
    entry = f"{name}: {written(value_of(config, knob.key), knob.annotation)}"
    return f"# {entry}" if knob.secret or config.is_default(knob.key) else entry


def _manner(prefix: str) -> Iterator[str]:
    yield from _MANNER
    yield f"Variables win over the file. A secret can be in a file of its own, named by {prefix}_SECTION_KEY_FILE."
