from __future__ import annotations

import pytest

from chassis.auth.claims import Invalid, check_header


@pytest.mark.parametrize("algorithm", ["none", "HS256", "rs256", "RS256 ", "", None, ["RS256"]])
def test_a_token_does_not_choose_its_algorithm(algorithm: object) -> None:
    with pytest.raises(Invalid, match="algorithm"):
        check_header({"alg": algorithm}, ("RS256", "ES256"))


def test_the_algorithm_is_given_as_it_is_written() -> None:
    assert check_header({"alg": "ES256"}, ("RS256", "ES256")) == "ES256"
