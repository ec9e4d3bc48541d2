"""A second service: hears of new assets and listings, asks the registry for details, and shows what it saw over HTTP.

Start it with `chassis run examples.listing_watch.service:ListingWatch --config examples/listing_watch/config.yaml`,
after the registry, whose events it gets from the same NATS. Where that was started by the registry's `--dev`:

    LISTING_WATCH_EVENTBUS_SERVERS="nats://dev:$(cat .chassis/nats/password)@127.0.0.1:$(cat .chassis/nats/port)"

| module | |
|---|---|
| `service` | the service: what it listens to, whom it asks, what it serves |
| `sightings` | what it saw, in memory, the latest first |

>>> from examples.listing_watch.sightings import Sightings
>>> len(Sightings(keep=100))
0
"""
