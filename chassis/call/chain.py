from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar

from grpc import StatusCode

from chassis.call.call import Call
from chassis.call.method import Method

Proceed = Callable[[Call], Awaitable[Any]]
"""The rest of a call: what is inside of a concern."""

OnError = Callable[[Call, BaseException], None]


class Interceptor:
    """One concern of a call: written once, used for all RPC kinds, HTTP, events, and calls going out.

    Do what you want before, after or instead of `proceed(call)`; call it twice to retry, not at all to answer
    yourself; raise a ChassisError to reject. Once `proceed` is over, `call.code` and `call.error` say how it ended.

    >>> import asyncio
    >>> class Counting(Interceptor):
    ...     seen = 0
    ...     async def around(self, call, proceed):
    ...         self.seen += 1
    ...         return await proceed(call)
    >>> async def handler(call):
    ...     return "hello"
    >>> from chassis.call import Kind, Method
    >>> method = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
    >>> counting = Counting()
    >>> asyncio.run(compose([counting], method, handler)(Call(method))), counting.seen
    ('hello', 1)
    """

    transparent: ClassVar[bool] = False
    """Whether `around` only watches: it gives on what comes out of `proceed`, result or error, and nothing of its own.

    Between two such concerns there is nothing to stamp, which costs less. What one of them raises by mistake is known
    outside of all of them.
    """

    only_before: ClassVar[bool] = False
    """Whether `around` looks at neither `call.code` nor `call.error` once it has proceeded: its part comes before.

    What is inside has nothing to stamp for such a concern. It may be a plain function that returns `proceed(call)`.
    """

    def applies(self, method: Method) -> bool:
        """Whether this concern has anything to do for this method; asked when its calls are composed."""
        return True

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        """Do this concern's part of the call; what comes out of it is the call's result."""
        return proceed(call)

    def on_error(self, call: Call, error: BaseException) -> None:
        """Look at the error with which a call leaves what is inside of this concern; what it raises takes its place.

        A concern that only has to do with errors needs no `around`, and costs calls that succeed nothing.
        """

    def on_message(self, call: Call, message: Any) -> None:
        """Look at a message of a stream of requests when the handler reads it; what it raises, the handler gets.

        For RPCs that are served. Streams that no concern looks into cost nothing for it.
        """


def on_message(interceptors: Iterable[Interceptor], method: Method) -> tuple[Callable[[Call, Any], None], ...]:
    """What the messages of a stream are shown to, in order: of the concerns that apply those that look."""
    looking = [each for each in interceptors if type(each).on_message is not Interceptor.on_message]
    return tuple(each.on_message for each in looking if each.applies(method))


def compose(interceptors: Iterable[Interceptor], method: Method, innermost: Proceed) -> Proceed:
    """Put together, once, what all calls of a method go through: outermost first, then `innermost`."""
    around: Any = innermost
    proceed: Proceed | None = None
    look: OnError | None = None
    stamped = False  # whether what is inside ends in no other way than is stamped already
    for interceptor in reversed([each for each in interceptors if each.applies(method)]):
        own = type(interceptor)
        if own.on_error is not Interceptor.on_error:
            look = _then(look, interceptor.on_error)
        if own.around is not Interceptor.around:
            watches = _says(own, "transparent")
            if look is None and (_says(own, "only_before") or (watches and stamped)):
                proceed = _passed(around, proceed)
            else:
                proceed, stamped = _link(around, proceed, look), True
            around, look = interceptor.around, None
            stamped = stamped and watches
    return _link(around, proceed, look)


def _says(own: type[Interceptor], name: str) -> bool:
    # As the class says that has the `around`: a subclass with one of its own has to say so itself.
    return bool(next(vars(cls).get(name, False) for cls in own.__mro__ if "around" in vars(cls)))


def _link(around: Any, proceed: Proceed | None, look: OnError | None) -> Proceed:
    """What passes between two concerns stamps how the call ended: none can forget it or guess it.

    One that answers for another's error, or turns success into failure, is seen as such by those outside of it.
    `around` is a concern with what is inside of it to proceed to, or the innermost function, with nothing.
    """

    async def link(call: Call) -> Any:
        try:
            result = await (around(call) if proceed is None else around(call, proceed))
        except BaseException as error:
            call.code, call.error = call.code_of(error), error
            if look is not None:
                look(call, error)
            raise
        if call.error is not None:  # answered for by this concern
            call.code = StatusCode.OK
            call.error = None
        return result

    return link


def _passed(around: Any, proceed: Proceed | None) -> Proceed:
    return around if proceed is None else lambda call: around(call, proceed)


def _then(inner: OnError | None, outer: OnError) -> OnError:
    """Look at an error, or at that which has taken its place; whichever it is in the end is stamped."""

    def look(call: Call, error: BaseException) -> None:
        if inner is not None:
            try:
                inner(call, error)
            except BaseException as instead:
                look_at(call, instead)
                raise
        look_at(call, error)

    def look_at(call: Call, error: BaseException) -> None:
        try:
            outer(call, error)
        except BaseException as instead:
            call.code, call.error = call.code_of(instead), instead
            raise

    return look
