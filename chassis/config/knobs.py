"""What one option is: its key, type, default, documentation and check, read from the fields of a section's class."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from chassis.config.secret import Secret, SecretUrl

REQUIRED: Final = dataclasses.MISSING
"""The default of a knob that has none."""


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that a value has to meet, and the words for it: `{expected} is expected`.

    >>> even = Check(lambda number: number % 2 == 0, "an even number")
    """

    test: Callable[[Any], bool]
    expected: str


def between(low: float, high: float, noun: str = "a number") -> Check:
    """Ask for `low` to `high`, both included."""
    return Check(lambda value: low <= value <= high, f"{noun} from {low} to {high}")


def at_least(low: float, noun: str = "a number") -> Check:
    """Ask for `low` or more."""
    return Check(lambda value: value >= low, f"{noun} of at least {low}")


def longer_than_zero() -> Check:
    """Ask for a duration that is not 0."""
    return Check(lambda value: value > 0, "a duration above 0s")


def matching(pattern: str, expected: str) -> Check:
    """Ask for a text, secret or not, that `pattern` describes as a whole."""
    # Compiled when first asked (re remembers it): most knobs keep their defaults, which no one needs to ask about.
    return Check(
        lambda value: re.fullmatch(pattern, value.reveal() if isinstance(value, Secret) else value) is not None,
        expected,
    )


def each(check: Check) -> Check:
    """Ask it of every item of a list."""
    return Check(lambda values: all(check.test(value) for value in values), f"{check.expected}, for each item,")


def knob(default: Any = REQUIRED, *, doc: str, check: Check | None = None, default_doc: str | None = None) -> Any:
    """Declare an option of a `Settings` dataclass, with its documentation and, where it has one, its check.

    A default that is a list, dict or set is copied for each instance. `default_doc` says in words what the default is,
    where the value alone would not. What must not be seen is a field of type `Secret`.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     page_size: int = knob(50, doc="Items of a page.", check=between(1, 1000))
    ...     venue_key: Secret = knob(Secret(""), doc="Key for the venue's API.")
    >>> Settings()
    Settings(page_size=50, venue_key=Secret('***'))
    """
    metadata = {"doc": doc, "check": check, "default_doc": default_doc}
    if isinstance(default, list | dict | set):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One option, with all that the file, the environment, the checks and `chassis config` need to know of it."""

    key: str
    annotation: Any
    default: Any = REQUIRED
    doc: str = ""
    default_doc: str | None = None
    check: Check | None = None

    @property
    def secret(self) -> bool:
        """Whether its values must not be seen."""
        return is_secret(self.annotation)

    def variable(self, prefix: str) -> str:
        """Give the environment variable that sets it."""
        return f"{prefix}_{self.key.upper().replace('.', '_')}"


class Catalogue(Mapping[str, Knob]):
    """All knobs of some sections by key, in the order in which they are declared; `classes` has the classes by path.

    Raises TypeError for a class that is neither a dataclass nor an attrs class, for a field whose type cannot be read,
    and for two knobs that would be set by the same environment variable.
    """

    def __init__(self, sections: Mapping[str, type]) -> None:
        self.classes: dict[str, type] = {}
        self._knobs: dict[str, Knob] = {}
        self._variables: dict[str, str] = {}
        for name, cls in sections.items():
            self._add(name, cls, None)

    def __getitem__(self, key: str) -> Knob:
        return self._knobs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._knobs)

    def __len__(self) -> int:
        return len(self._knobs)

    def of(self, path: str) -> Iterator[tuple[str, str]]:
        """Give name and key of each knob and class directly under `path`."""
        for key in (*self._knobs, *self.classes):
            parent, _, name = key.rpartition(".")
            if parent == path:
                yield name, key

    def _add(self, path: str, cls: type, instance: object | None) -> None:
        self.classes[path] = cls
        for field in fields_of(cls):
            key = f"{path}.{field.name}"
            default = getattr(instance, field.attribute) if instance is not None else field.default
            if is_class(field.annotation):
                self._add(key, field.annotation, None if default is REQUIRED else default)
                continue
            knob = Knob(
                key=key,
                annotation=field.annotation,
                default=default,
                doc=field.metadata.get("doc") or "",
                default_doc=field.metadata.get("default_doc"),
                check=field.metadata.get("check"),
            )
            variable = knob.variable("")
            if variable in self._variables:
                raise TypeError(f"{key} and {self._variables[variable]} would be set by the same environment variable")
            self._variables[variable] = key
            self._knobs[key] = knob


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a class with configuration, by the name that its constructor knows."""

    name: str
    attribute: str
    annotation: Any
    default: Any
    metadata: Mapping[str, Any]


def is_class(annotation: object) -> bool:
    """Whether it is a dataclass or an attrs class, and so has knobs of its own."""
    return isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or hasattr(annotation, "__attrs_attrs__")
    )


def is_secret(annotation: Any) -> bool:
    """Whether a type is, or holds, a `Secret`."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if is_class(annotation):
            return any(is_secret(field.annotation) for field in fields_of(annotation))
        return issubclass(annotation, Secret)
    return any(is_secret(argument) for argument in get_args(annotation))


def type_name(annotation: Any) -> str:
    """Give the word for a type that an operator reads.

    >>> type_name(int), type_name(tuple[str, ...]), type_name(Literal["json", "console"])
    ('whole number', 'list of text', 'json | console')
    """
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return str(next((mark for mark in annotation.__metadata__ if isinstance(mark, str)), type_name(arguments[0])))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments if argument is not type(None))
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(member.name.lower() for member in annotation)
    return str(getattr(annotation, "__name__", annotation))


_WORDS: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true | false",
    Path: "path",
    Secret: "secret",
    SecretUrl: "address",
}


def fields_of(cls: type) -> Iterator[Field]:
    """Give the fields of a dataclass or attrs class that its constructor takes."""
    if not is_class(cls):
        raise TypeError(f"{cls!r} holds configuration, so it has to be a dataclass or an attrs class")
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"the annotations of {cls.__qualname__} cannot be read: {error}; "
            f"types in them are looked up in the module {cls.__module__}"
        ) from error
    attributes = getattr(cls, "__attrs_attrs__", None)
    for field in attributes if attributes is not None else dataclasses.fields(cls):
        if not field.init:
            continue
        yield Field(
            name=getattr(field, "alias", None) or field.name,
            attribute=field.name,
            annotation=hints.get(field.name, str),
            default=_default(field),
            metadata=field.metadata,
        )


def _default(field: Any) -> Any:
    if isinstance(field, dataclasses.Field):
        return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    attrs = sys.modules["attr"]  # an attrs class is at hand, so it has been imported
    if field.default is attrs.NOTHING:
        return REQUIRED
    if not isinstance(field.default, attrs.Factory):
        return field.default
    if field.default.takes_self:
        raise TypeError(f"the default of {field.name} depends on other fields, so it cannot be told in advance")
    return field.default.factory()
