from __future__ import annotations

from examples.listing_watch.sightings import Sightings


def see(sightings: Sightings, *symbols: str) -> None:
    for symbol in symbols:
        sightings.see(symbol.lower(), symbol=symbol, name=f"Name of {symbol}")


def test_the_latest_come_first() -> None:
    sightings = Sightings(keep=10)
    see(sightings, "A", "B", "C")
    assert [sighting.symbol for sighting in sightings.latest(2)] == ["C", "B"]


def test_what_was_seen_longest_ago_is_forgotten() -> None:
    sightings = Sightings(keep=2)
    see(sightings, "A", "B", "A", "C")
    assert sightings.get("b") is None
    assert [sighting.symbol for sighting in sightings.latest(10)] == ["C", "A"]
    assert len(sightings) == 2


def test_one_who_is_seen_again_keeps_what_was_seen_and_takes_its_new_name() -> None:
    sightings = Sightings(keep=2)
    first = sightings.see("a", symbol="MATIC", name="Polygon")
    first.deployments["d-1"] = {"chain": "Ethereum"}
    again = sightings.see("a", symbol="POL", name="Polygon Ecosystem Token")
    assert again is first
    assert again.as_json()["deployments"] == [{"chain": "Ethereum"}]
    assert (again.symbol, again.name) == ("POL", "Polygon Ecosystem Token")


def test_what_is_served_is_a_copy() -> None:
    sightings = Sightings(keep=2)
    sighting = sightings.see("a", symbol="A", name="A")
    sighting.listings["v-1"] = {"venue": "Kraken"}
    sighting.as_json()["listings"][0]["venue"] = "changed"
    assert sighting.listings["v-1"] == {"venue": "Kraken"}
