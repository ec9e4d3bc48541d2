from __future__ import annotations

from chassis.auth.authenticator import Authenticator
from chassis.auth.jws import looks_like_jws
from chassis.call import Principal


class CombinedAuthenticator:
    """Accepts API keys and JSON Web Tokens side by side; the form of a token decides which of the two it is.

    Each is tried by one scheme alone. No API key can have the form of a token: `ApiKeyAuthenticator` refuses those.
    """

    __slots__ = ("_api_keys", "_jwt")

    def __init__(self, api_keys: Authenticator, jwt: Authenticator) -> None:
        self._api_keys = api_keys
        self._jwt = jwt

    def authenticate(self, token: str) -> Principal:
        """Give the principal of an API key or of a JSON Web Token.

        Raises `Unauthorized` for every other text.
        """
        return (self._jwt if looks_like_jws(token) else self._api_keys).authenticate(token)
