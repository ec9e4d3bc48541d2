from __future__ import annotations

from collections.abc import Sequence

from chassis.errors import Unauthorized

_HINT = "send 'authorization: Bearer <token>'"
MISSING_CREDENTIALS = f"missing credentials; {_HINT}"
MALFORMED_CREDENTIALS = f"malformed authorization; {_HINT}, once"


def token_from(values: Sequence[str]) -> str:
    """Give the token out of all values of a call's `authorization` header or metadata (RFC 6750, section 2.1).

    The scheme's case does not matter (RFC 9110, section 11.1; the Go sibling wants exactly `Bearer`). A header that
    came twice is refused: two readers of the same call must not be able to pick different credentials.

    Raises `Unauthorized`, with a message that says what to send. Such a message tells nothing about credentials that
    were sent; for those the authenticator has its one message.

    >>> token_from(["Bearer s3cret"])
    's3cret'
    >>> token_from([])
    Traceback (most recent call last):
    chassis.errors.Unauthorized: missing credentials; send 'authorization: Bearer <token>'
    """
    if len(values) == 1 and values[0][:7] == "Bearer ":
        # What nearly all callers send needs no more than this.
        token = values[0][7:]
        if token and token.isascii() and " " not in token and "\t" not in token:
            return token
    if not values:
        raise Unauthorized(MISSING_CREDENTIALS, detail="no authorization header")
    if len(values) > 1:
        raise Unauthorized(MALFORMED_CREDENTIALS, detail="more than one authorization header")
    scheme, _, rest = values[0].lstrip(" \t").partition(" ")
    if not scheme.strip(" \t"):
        raise Unauthorized(MISSING_CREDENTIALS, detail="empty authorization header")
    if len(scheme) != 6 or scheme.lower() != "bearer":
        raise Unauthorized(MALFORMED_CREDENTIALS, detail="authorization of another scheme than Bearer")
    token = rest.strip(" \t")
    if not token:
        raise Unauthorized(MALFORMED_CREDENTIALS, detail="nothing behind Bearer")
    # Also "Bearer a, Bearer b", which is how proxies put two headers into one (RFC 9110, section 5.3). Which characters
    # a token really has is for the authenticator to judge: a look at each of hundreds costs as much as all of this.
    if " " in token or "\t" in token or not token.isascii():
        raise Unauthorized(MALFORMED_CREDENTIALS, detail="characters behind Bearer that are in no token")
    return token
