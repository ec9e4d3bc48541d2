"""Text, and what YAML and JSON make of it, into the types of knobs; with every mismatch at once.

The same text means the same in a file and in the environment: the type of the knob says what it is, never the look of
the text. So `version: 1.10` stays `1.10`, and `env: no` is no boolean.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

from chassis.config.knobs import Field, fields_of, is_class, is_secret
from chassis.config.leaves import Mismatch, leaf
from chassis.config.problems import one_line, plain_key, shown
from chassis.config.sections import ApiKeys

if TYPE_CHECKING:
    import cattrs

_SEPARATOR = re.compile(r"[,\n]")
_SEQUENCES: Final = (list, tuple, set, frozenset)


def convert(value: object, annotation: Any, written: object) -> tuple[object, list[str]]:
    """Give `value` as `annotation` wants it, and the messages about all that keeps it from being that.

    `written` is what a message may show of the value as a whole: the text as the operator wrote it, before variables in
    it were replaced. Of secrets nothing is shown. Raises TypeError for annotations that cannot be read.
    """
    secret = is_secret(annotation)
    try:
        return _structured(value, annotation), []
    except Mismatch as mismatch:
        return None, [_message(mismatch.expected, "" if secret else f", got {shown(written)}")]
    except ExceptionGroup as group:
        return None, list(dict.fromkeys(_messages(group, "", hidden=secret or written is not value)))
    except RecursionError:
        return None, ["a value with fewer levels is expected"]


def _message(expected: str, got: str) -> str:
    head, colon, rest = expected.partition(": ")
    return f"{head}{'' if 'expected' in head else ' is expected'}{colon}{rest}{got}"


def _structured(value: object, annotation: Any) -> object:
    inner = _without_none(annotation)
    if inner is not annotation and value is None:
        return None
    if isinstance(value, str) and _container(inner):
        value = _parsed(value, inner)
    read = leaf(inner)
    if read is not None:
        return read(value)
    if get_origin(inner) in _SEQUENCES and not isinstance(value, list | tuple):
        raise Mismatch("a list")  # of a tuple of several types cattrs would ask the length of anything
    items = _item_reader(inner)
    if items is not None:
        try:
            return items(value)
        except Mismatch:
            pass  # cattrs tells of all that do not fit, and where they are
    return converter().structure(value, inner)


def _item_reader(annotation: Any) -> Callable[[Any], object] | None:
    """Give what reads a list whose items have no parts: addresses and names, as most lists of configuration are."""
    sequence, arguments = get_origin(annotation), get_args(annotation)
    if sequence not in _SEQUENCES or (sequence is tuple and arguments[1:] != (...,)):
        return None
    read = leaf(arguments[0])
    return None if read is None else lambda value: sequence(map(read, value))


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        others = [argument for argument in get_args(annotation) if argument is not type(None)]
        if len(others) == 1:
            return others[0]
    return annotation


def _container(annotation: Any) -> str | None:
    """Which bracket the JSON text of such a value begins with; `*` for either, None if it is no container."""
    if annotation == ApiKeys:
        return "*"
    origin = get_origin(annotation) or annotation
    if origin in _SEQUENCES:
        return "["
    return "{" if origin is dict or is_class(annotation) else None


def _parsed(text: str, annotation: Any) -> object:
    stripped = text.strip()
    bracket = _container(annotation)
    if bracket != "{" and not stripped.startswith("[" if bracket == "[" else ("[", "{")):
        if annotation == ApiKeys and not stripped:
            # Off by accident is the one thing that must not happen: a variable that stayed empty opens every door.
            raise Mismatch("at least one key is expected: leave it out, or write [], for none")
        return [item.strip() for item in _SEPARATOR.split(text) if item.strip()]
    import json

    try:
        parsed = json.loads(stripped, object_pairs_hook=_unique)
    except Mismatch:
        raise
    except (ValueError, RecursionError):
        kind = "a JSON mapping" if bracket == "{" else "a list with commas, or as JSON,"
        raise Mismatch(kind) from None
    return parsed


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise Mismatch("a JSON mapping that has each name once")
        found[name] = value
    return found


@cache
def converter() -> cattrs.Converter:
    """Give cattrs' converter for lists, mappings and classes, with the types above for what is in them."""
    # Imported here, since a service whose values and lists are plain does without it: 30 ms and half a mebibyte.
    from cattrs import Converter
    from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory, mapping_structure_factory
    from cattrs.gen import make_dict_structure_fn, override

    made = Converter(forbid_extra_keys=True, detailed_validation=True)

    def of_kind(kind: type, expected: str, build: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def factory(annotation: Any, using: Any) -> Callable[[object, Any], object]:
            inner = build(annotation, using)

            def structure(value: object, _: Any) -> object:
                if isinstance(value, tuple) and kind is list:
                    value = list(value)
                if not isinstance(value, kind):
                    raise Mismatch(expected)
                return inner(value, annotation)

            return structure

        return factory

    def set_factory(annotation: Any, using: Any) -> Callable[[Any, Any], Any]:
        inner = list_structure_factory(annotation, using)
        return lambda value, _: get_origin(annotation)(inner(value, annotation))

    def has_origin(*origins: type) -> Callable[[Any], bool]:
        return lambda annotation: get_origin(annotation) in origins

    def is_tuple(annotation: Any) -> bool:
        return get_origin(annotation) is tuple and get_args(annotation)[1:] == (...,)

    def attributes(annotation: Any, using: Any) -> Any:
        # cattrs resolves annotations that are strings without what is Annotated, and so forgets that a float is a
        # Duration: each field gets the hook for its full type.
        hooks: dict[str, Any] = {
            field.attribute: override(struct_hook=of_field(field, using)) for field in fields_of(annotation)
        }
        return make_dict_structure_fn(annotation, using, _cattrs_use_alias=True, **hooks)

    def of_field(field: Field, using: Any) -> Callable[[Any, Any], Any]:
        hook, check = using.get_structure_hook(field.annotation), field.metadata.get("check")

        def structure(value: object, _: Any) -> object:
            made = hook(value, field.annotation)
            if check is not None and made is not None and not check.test(made):
                raise Mismatch(check.expected)
            return made

        return structure

    def mapping(annotation: Any, using: Any) -> Any:
        return mapping_structure_factory(annotation, using, dict)

    def leaf_factory(annotation: Any, _: Any) -> Callable[[Any, Any], Any]:
        read = leaf(annotation)
        assert read is not None
        return lambda value, _: read(value)

    rules: list[tuple[Callable[[Any], bool], Any]] = [
        (is_class, of_kind(dict, "a mapping", attributes)),
        (has_origin(list), of_kind(list, "a list", list_structure_factory)),
        (is_tuple, of_kind(list, "a list", homogenous_tuple_structure_factory)),
        (has_origin(set, frozenset), of_kind(list, "a list", set_factory)),
        (
            has_origin(dict),
            of_kind(dict, "a mapping", lambda kind, using: mapping_structure_factory(kind, using, dict)),
        ),
        (lambda kind: leaf(kind) is not None, lambda kind, _: lambda value, _: leaf(kind)(value)),  # type: ignore[misc]
    ]
    for plain in (str, int, float, bool):  # cattrs knows these by type, and asks no rule about them
        made.register_structure_hook(plain, leaf_factory(plain, made))
    for predicate, factory in rules:
        made.register_structure_hook_factory(predicate, factory)
    return made


def ensure_readable(annotation: Any, key: str) -> None:
    """Raise TypeError, naming the knob, for a type that no text can become."""
    inner = _without_none(annotation)
    if leaf(inner) is not None or _item_reader(inner) is not None:
        return
    from cattrs.errors import StructureHandlerNotFoundError

    try:
        hook = converter().get_structure_hook(inner)
    except StructureHandlerNotFoundError:
        hook = None
    known = get_origin(inner) in (*_SEQUENCES, dict) or is_class(inner)
    if hook is None or not known:
        raise TypeError(f"{key} has the type {annotation}, which configuration cannot read")


def _messages(group: BaseException, path: str, *, hidden: bool) -> Iterator[str]:
    from cattrs.errors import (
        AttributeValidationNote,
        BaseValidationError,
        ForbiddenExtraKeysError,
        IterableValidationNote,
    )

    for note in getattr(group, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path += f".{note.name}"
        elif isinstance(note, IterableValidationNote) and isinstance(note.index, int):
            path += f"[{note.index}]"
        elif isinstance(note, IterableValidationNote):
            path += f".{plain_key(str(note.index))}"
    where = "" if hidden or not path else f" at {path.removeprefix('.')}"
    if isinstance(group, BaseValidationError):
        for error in group.exceptions:
            yield from _messages(error, path, hidden=hidden)
    elif isinstance(group, Mismatch):
        yield f"{_message(group.expected, '')}{where}"
    elif isinstance(group, ForbiddenExtraKeysError):
        names = "" if hidden else ": " + ", ".join(sorted(plain_key(str(name)) for name in group.extra_fields))
        yield f"no keys but those of {group.cl.__name__} are expected{where}{names}"
    elif isinstance(group, KeyError):
        yield f"{plain_key(str(group.args[0]))} is missing{where}"
    elif isinstance(group, ValueError | TypeError) and not hidden and group.args:
        yield f"refused{where}: {one_line(str(group.args[0]))}"
    else:
        yield f"a valid value is expected{where}"
