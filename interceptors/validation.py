from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from chassis.call import Call, Method, Proceed
from chassis.errors import InvalidInput
from interceptors.interceptor import RpcInterceptor

# The number of `buf.validate.message`, `.oneof` and `.field` in the options of a .proto file.
_RULES = 1159
# Telling a violation takes ten times as long as finding it: of larger messages that are wrong only the first is told.
_TOLD_IN_FULL = 4096
# Bytes of violations that fit into the trailing metadata of a call, beside what else is there.
_MOST_TOLD = 2500


class ValidationInterceptor(RpcInterceptor):
    """Refuses requests and events that break the rules in their .proto files (`buf.validate`), naming the fields.

    The caller gets INVALID_ARGUMENT (400) with google.rpc.BadRequest, an event becomes a dead letter. Each message of a
    stream is checked when it is read. What this service sends is not checked: a mistake in it is no caller's fault.
    Routes decode what they are sent by themselves, and call `check`. Messages without rules cost a look-up.

    Time grows with the number of values that rules are for: bound lists by `max_items`. It works with the package
    protovalidate (`pip install 'cq-chassis[validation]'`), and raises ImportError where that is missing.
    """

    only_before = True

    def __init__(self) -> None:
        try:
            from protovalidate import Validator
        except ImportError as error:
            raise ImportError("validation needs protovalidate: pip install 'cq-chassis[validation]'") from error
        self._find = Validator().collect_violations
        self._has_rules: dict[type, bool] = {}

    def applies(self, method: Method) -> bool:
        return method.served and method.known and method.system != "http"

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        if not call.method.kind.request_streaming:
            self.check(call.request)
        return proceed(call)

    def on_message(self, call: Call, message: Any) -> None:
        self.check(message)

    def check(self, message: object) -> None:
        """Raise InvalidInput for a message that breaks its rules; anything but protobuf messages passes."""
        cls = type(message)
        has_rules = self._has_rules.get(cls)
        if has_rules is None:
            has_rules = self._has_rules[cls] = isinstance(message, Message) and _has_rules(message.DESCRIPTOR)
        if not has_rules:
            return
        assert isinstance(message, Message)
        if violations := self._find(message, fail_fast=True):
            if message.ByteSize() <= _TOLD_IN_FULL:
                violations = self._find(message)
            raise _invalid([each.proto for each in violations])


def _has_rules(descriptor: Any) -> bool:
    """Whether the message, or any that can be in it, has rules."""
    seen, left = {descriptor.full_name}, [descriptor]
    while left:
        each = left.pop()
        for ruled in (each, *each.fields, *each.oneofs):
            # Where the module of the rules is not imported, they are unknown fields.
            options = ruled.GetOptions()
            unknown = UnknownFieldSet(options)
            numbers = {field.number for field, _ in options.ListFields()}
            if _RULES in numbers.union(unknown[n].field_number for n in range(len(unknown))):
                return True
        for field in each.fields:
            if (inner := field.message_type) is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                left.append(inner)
    return False


def _invalid(violations: list[Any]) -> InvalidInput:
    from google.rpc.error_details_pb2 import BadRequest

    told = BadRequest()
    for violation in violations:
        field = _path(violation.field)[:200]
        told.field_violations.add(field=field, description=(violation.message or violation.rule_id)[:500])
        if told.ByteSize() > _MOST_TOLD:
            del told.field_violations[-1]
            break
    first = told.field_violations[0]
    where = f" for {first.field}" if first.field else ""
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    return InvalidInput(f"invalid input{where}: {first.description}{more}", details=[told])


def _path(path: Any) -> str:
    """A field's path as the protobuf documentation writes it: `legs[1].by["k"].n`."""
    elements: Iterable[Any] = () if path is None else path.elements
    text = ""
    for element in elements:
        subscript = element.subscript
        text += f".{element.field_name}"
        if subscript is not None:
            value = subscript.value
            text += f'["{value}"]' if isinstance(value, str) else f"[{value}]"
    return text[1:]
