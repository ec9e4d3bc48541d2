from __future__ import annotations

import json
import math

from aiohttp import web

from chassis.errors import ChassisError, Unauthorized, classify


def answer_to(error: BaseException, request_id: str) -> web.StreamResponse:
    """The response that tells a caller of this error: the handler's own, or the platform's JSON."""
    if isinstance(error, web.HTTPException):
        return error
    told = error if isinstance(error, ChassisError) else classify(error, request_id)
    if isinstance(told.answer, web.StreamResponse):
        return told.answer
    return json_answer(told, request_id)


def json_answer(error: ChassisError, request_id: str) -> web.Response:
    """The platform's JSON for an error.

    >>> from chassis.errors import ResourceExhausted
    >>> response = json_answer(ResourceExhausted("slow down", retry_after=1.5), "r-1")
    >>> response.status, response.headers["Retry-After"], response.text
    (429, '2', '{"error":"slow down","code":"RESOURCE_EXHAUSTED","request_id":"r-1"}\\n')
    """
    status = error.meaning.http_status
    message = error.message or error.code.name.lower().replace("_", " ")
    body = {"error": message, "code": error.code.name, "request_id": request_id}
    response = web.Response(
        status=status,
        # A name for 499 is in no list: nginx made the status up for clients that are gone before their answer.
        reason="Client Closed Request" if status == 499 else None,
        body=json.dumps(body, separators=(",", ":")).encode() + b"\n",
        content_type="application/json",
    )
    for name, value in error.trailers:
        # What travels beside an error over gRPC does so here; bytes and line breaks have no place in headers.
        if isinstance(value, str) and value.isprintable() and name.replace("-", "").replace("_", "").isalnum():
            response.headers.add(name, value)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(0, math.ceil(error.retry_after)))  # RFC 9110: whole seconds
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def is_default(response: web.HTTPException) -> bool:
    """Whether nobody wrote this body: aiohttp fills in the status and its name.

    >>> is_default(web.HTTPNotFound()), is_default(web.HTTPNotFound(text="no such asset"))
    (True, False)
    """
    return response.text == f"{response.status}: {response.reason}"
