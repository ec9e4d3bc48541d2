"""Protobuf messages with random content, built from their descriptors."""

from __future__ import annotations

import random
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_INTEGERS = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_LETTERS = "aZ09 _-\n\0\"'{}<>äßλ中\U0001f600"


def random_message(message_type: type[M], generator: random.Random, depth: int = 4) -> M:
    """A message in which each field is set, or not, with a value of its type."""
    message = message_type()
    _fill(message, generator, depth)
    return message


def _fill(message: Message, generator: random.Random, depth: int) -> None:
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        message.seconds = generator.randrange(0, 2**32)  # type: ignore[attr-defined]
        message.nanos = generator.randrange(0, 10**9)  # type: ignore[attr-defined]
        return
    for field in message.DESCRIPTOR.fields:
        if generator.random() < 0.2:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(getattr(message, field.name), field.message_type, generator, depth)
        elif field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(generator.randrange(4)):
                if field.message_type is None:
                    values.append(_scalar(field, generator))
                elif depth:
                    _fill(values.add(), generator, depth - 1)
        elif field.message_type is None:
            setattr(message, field.name, _scalar(field, generator))
        elif depth:
            nested = getattr(message, field.name)
            nested.SetInParent()
            _fill(nested, generator, depth - 1)


def _fill_map(values: Any, entry: Any, generator: random.Random, depth: int) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(generator.randrange(4)):
        if value.message_type is None:
            values[_scalar(key, generator)] = _scalar(value, generator)
        elif depth:
            _fill(values[_scalar(key, generator)], generator, depth - 1)


def _scalar(field: Any, generator: random.Random) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return generator.randint(*_INTEGERS[kind])
    if kind == Field.CPPTYPE_ENUM:
        return generator.choice(field.enum_type.values).number
    if kind == Field.CPPTYPE_BOOL:
        return generator.random() < 0.5
    if kind == Field.CPPTYPE_DOUBLE:
        return generator.choice([generator.uniform(-1e300, 1e300), 0.1, -0.0, float("inf")])
    if kind == Field.CPPTYPE_FLOAT:
        return float(generator.randrange(-(2**20), 2**20)) / 8
    text = "".join(generator.choices(_LETTERS, k=generator.randrange(12)))
    return text.encode() if field.type == Field.TYPE_BYTES else text
