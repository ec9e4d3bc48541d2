"""Services that show how the chassis is used; each runs, and runs in the tests.

| | |
|---|---|
| `examples.asset_registry` | reference data of the platform over gRPC, with events |
| `examples.listing_watch` | listens to those events, asks the registry back, and serves what it saw over HTTP |

>>> from examples import asset_registry, listing_watch
>>> asset_registry.__name__, listing_watch.__name__
('examples.asset_registry', 'examples.listing_watch')
"""
