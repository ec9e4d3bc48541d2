from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import Message

if TYPE_CHECKING:
    from types import ModuleType

# Before a capital that begins a word: after a small letter or a digit, or where a run of capitals ends.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOPIC = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


def snake_case(name: str) -> str:
    """The name of a message as it stands in topics.

    >>> [snake_case(name) for name in ("AssetCreated", "OHLCVUpdated", "Price24hMoved", "L2BookSeen")]
    ['asset_created', 'ohlcv_updated', 'price24h_moved', 'l2_book_seen']
    """
    return _WORD.sub("_", name).lower()


def topic_for(message_type: type[Message]) -> str:
    """The topic on which messages of this type are published: its package, then its name in snake case.

    >>> from cqc.events.v1.asset_events_pb2 import AssetCreated
    >>> topic_for(AssetCreated)
    'cqc.events.v1.asset_created'

    Raises TypeError for what is no type of messages, and for one that is declared inside of another.
    """
    given: object = message_type
    if not (isinstance(given, type) and issubclass(given, Message)):
        what = repr(given) if isinstance(given, type) else f"an object of class {type(given).__name__}"
        raise TypeError(f"a topic is found by a generated protobuf class, not by {what}")
    descriptor = message_type.DESCRIPTOR
    if descriptor.containing_type is not None:
        raise TypeError(
            f"{descriptor.full_name} is declared inside of another message and has no topic of its own; "
            "declare it at the top of its file, or name a topic yourself"
        )
    return _topic(descriptor.file.package, descriptor.name)


def type_for(topic: str) -> type[Message]:
    """The type of the messages on a topic; the module that defines it has to be imported by then.

    >>> from cqc.events.v1 import asset_events_pb2
    >>> type_for("cqc.events.v1.asset_created").DESCRIPTOR.full_name
    'cqc.events.v1.AssetCreated'

    Raises LookupError where no imported type has this topic, or more than one has.
    """
    check_topic(topic)
    package, _, event_type = topic.rpartition(".")
    usual = "".join(word[:1].upper() + word[1:] for word in event_type.split("_"))
    found = {descriptor.full_name: descriptor for descriptor in _candidates(package, usual)}
    matching = [descriptor for descriptor in found.values() if _topic(package, descriptor.name) == topic]
    if len(matching) == 1:
        return message_factory.GetMessageClass(matching[0])
    if matching:
        names = " and ".join(sorted(descriptor.full_name for descriptor in matching))
        raise LookupError(f"the topic {topic!r} may stand for {names}: say which, by the type itself")
    raise LookupError(
        f"no message type is known for the topic {topic!r}: import the module that defines "
        f"{package + '.' if package else ''}{usual}, or give the type itself"
    )


def check_topic(topic: str) -> None:
    """Raise ValueError for what cannot be a topic: empty or blank parts, or the wildcards * and >."""
    if not _TOPIC.fullmatch(topic):
        raise ValueError(
            f"{topic!r} is no topic: it needs words with dots between them, without spaces and without the wildcards "
            "* and >; subscribe to each topic by itself"
        )


def event_type_of(topic: str) -> str:
    """The last part of a topic, which says what happened.

    >>> event_type_of("cqc.events.v1.asset_created")
    'asset_created'
    """
    return topic.rpartition(".")[2]


def _topic(package: str, name: str) -> str:
    return f"{package}.{snake_case(name)}" if package else snake_case(name)


def _candidates(package: str, usual: str) -> Iterator[Descriptor]:
    prefix = f"{package}." if package else ""
    with contextlib.suppress(KeyError):
        yield descriptor_pool.Default().FindMessageTypeByName(prefix + usual)
    # Names with acronyms do not come back from snake case, and the pool cannot be asked for all types of a package.
    for module in list(sys.modules.values()):
        file = _file_of(module)
        if file is not None and file.package == package:
            yield from file.message_types_by_name.values()


def _file_of(module: ModuleType) -> FileDescriptor | None:
    file = getattr(module, "__dict__", {}).get("DESCRIPTOR")
    return file if isinstance(file, FileDescriptor) else None
