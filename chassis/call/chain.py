from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from grpc import StatusCode

from chassis.call.call import Call
from chassis.call.method import Method

Proceed = Callable[[Call], Awaitable[Any]]
"""The rest of a call: what is inside of a concern."""


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

    def applies(self, method: Method) -> bool:
        """Whether this concern has anything to do for this method; asked once, when its calls are composed."""
        return True

    async def around(self, call: Call, proceed: Proceed) -> Any:
        """Do this concern's part of the call; what it returns is the call's result."""
        return await proceed(call)

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
    chain = _link(lambda call, _: innermost(call), innermost)
    for interceptor in reversed([each for each in interceptors if each.applies(method)]):
        chain = _link(interceptor.around, chain)
    return chain


def _link(around: Callable[[Call, Proceed], Awaitable[Any]], proceed: Proceed) -> Proceed:
    """What passes between two concerns stamps how the call ended: none can forget it or guess it.

    One that answers for another's error, or turns success into failure, is seen as such by those outside of it.
    """

    async def link(call: Call) -> Any:
        try:
            result = await around(call, proceed)
        except BaseException as error:
            call.code, call.error = call.code_of(error), error
            raise
        call.code = StatusCode.OK
        call.error = None
        return result

    return link
