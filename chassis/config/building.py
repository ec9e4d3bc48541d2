"""Instances of configuration classes from values by key, with every failing check of the class itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from chassis.config.knobs import Catalogue
from chassis.config.problems import one_line
from chassis.config.secret import Secret

_PIECE: Final = 4
"""Characters of a secret in a row that are not shown; fewer would be found in any text."""


def build(catalogue: Catalogue, path: str, values: Mapping[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """Give the instance of the class at `path`, and keys with messages for what its own checks refuse.

    The checks are `__post_init__`, `__attrs_post_init__` and the validators of attrs; they refuse with ValueError or
    TypeError. A message that shows a secret is not passed on.
    """
    cls = catalogue.classes[path]
    arguments: dict[str, Any] = {}
    failures: list[tuple[str, str]] = []
    for name, key in catalogue.of(path):
        if key in catalogue.classes:
            arguments[name], inner = build(catalogue, key, values)
            failures += inner
        else:
            arguments[name] = values[key]
    if failures:
        return None, failures
    failures = [(f"{path}.{name}", _told(error, arguments)) for name, error in _invalid(cls, arguments)]
    if failures:
        return None, failures
    told = None
    try:
        return cls(**arguments), []
    except (ValueError, TypeError) as error:
        told = _told(error, arguments)
    return None, [(path, told)]


def _invalid(cls: Any, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Exception]]:
    """Ask attrs' validators one by one: the class itself stops at the first that refuses."""
    attributes = getattr(cls, "__attrs_attrs__", ())
    if any(attribute.converter is not None for attribute in attributes):
        return
    draft = object.__new__(cls)
    for attribute in attributes:
        if attribute.init and attribute.alias in arguments:
            object.__setattr__(draft, attribute.name, arguments[attribute.alias])
    for attribute in attributes:
        if attribute.validator is None or not attribute.init:
            continue
        try:
            attribute.validator(draft, attribute, arguments[attribute.alias])
        except (ValueError, TypeError) as error:
            yield attribute.alias, error


def _told(error: Exception, arguments: Mapping[str, Any]) -> str:
    said = str(error.args[0]) if error.args else ""
    if not said:
        return "refused"
    # A check may take a secret apart, as urlsplit does, and show a piece of it.
    compared = said.casefold()
    if any(piece in compared for secret in _secrets(arguments) for piece in _pieces_of(secret)):
        return "refused by a check of its class (the reason is not shown, as it has a secret in it)"
    return f"refused: {one_line(said)}"


def _pieces_of(secret: Secret) -> set[str]:
    """What of a secret must not be seen: each four characters of it that may not be shown, or all where it is less."""
    from urllib.parse import unquote

    text = secret.reveal()
    pieces = {piece for form in (text, unquote(text)) for piece in _cut(form)} - {*_cut(secret.masked())}
    return pieces - {""}


def _cut(text: str) -> Iterator[str]:
    text = text.casefold()
    for start in range(max(len(text) - _PIECE, 0) + 1):
        yield text[start : start + _PIECE]


def _secrets(value: object) -> Iterator[Secret]:
    fields = [each.name for each in getattr(type(value), "__attrs_attrs__", ())]
    fields += getattr(type(value), "__dataclass_fields__", ())
    if isinstance(value, Secret):
        yield value
    elif fields:  # of a class within this one, which is no secret from its checks
        for name in fields:
            yield from _secrets(getattr(value, name, None))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item)
