"""The registry of assets, their deployments, chains, venues and listings: `cqc.services.v1.AssetRegistry`.

Start it with
`chassis run examples.asset_registry.service:AssetRegistry --dev --config examples/asset_registry/config.yaml`: `--dev`
starts PostgreSQL, Redis and NATS beside it; elsewhere the environment says where they are, as told in that file.

| module | |
|---|---|
| `service` | the service: its name, its options, what it registers |
| `servicer`, and `assets`, `deployments`, `chains`, `venues` | the RPCs |
| `validation`, `page_token` | what may be in a request |
| `store` | where records are kept: the interface, and what all stores say |
| `postgres_store`, `tables`, `violations`, `schema.sql` | in PostgreSQL |
| `cached_store` | in front of it, what is asked for by id in Redis |
| `memory_store` | in the memory of the process, for tests |
| `reference` | a few dozen well-known records to begin with |

>>> from examples.asset_registry.page_token import decode, encode
>>> from examples.asset_registry.store import Position
>>> token = encode(Position(1, "7a0c3b52-8a4f-4b1e-9d63-0d5e7f2f9a11"), "ASSET_TYPE_NATIVE")
>>> decode(token, "ASSET_TYPE_NATIVE").created_at
1
"""
