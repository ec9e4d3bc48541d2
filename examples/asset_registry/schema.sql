-- One table for each record, one column for each of its fields; NULL for a field that is absent. Enums are their numbers.
-- Ids and whatever lists are ordered by compare byte by byte, on every server alike. What is looked for without regard to
-- case is compared with lower(), so the database should know letters beyond ASCII (LC_CTYPE not C).
-- The names of constraints and unique indexes are known to violations.py, which says what they mean.

CREATE TABLE IF NOT EXISTS assets (
    asset_id    text COLLATE "C" PRIMARY KEY,
    symbol      text NOT NULL,
    name        text NOT NULL,
    asset_type  integer,
    category    text,
    description text,
    logo_url    text,
    website_url text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz,
    metadata    jsonb
);
CREATE UNIQUE INDEX IF NOT EXISTS assets_symbol_name_key ON assets (lower(symbol), lower(name));
CREATE INDEX IF NOT EXISTS assets_by_age ON assets (created_at, asset_id);

CREATE TABLE IF NOT EXISTS chains (
    chain_id        text COLLATE "C" PRIMARY KEY,
    chain_name      text NOT NULL,
    native_asset_id text COLLATE "C" CONSTRAINT chains_native_asset_id_fkey REFERENCES assets,
    chain_type      text,
    network_id      bigint,
    explorer_url    text,
    is_testnet      boolean,
    metadata        jsonb
);
CREATE UNIQUE INDEX IF NOT EXISTS chains_name_key ON chains (lower(chain_name) COLLATE "C");
CREATE INDEX IF NOT EXISTS chains_by_native_asset ON chains (native_asset_id);

CREATE TABLE IF NOT EXISTS deployments (
    deployment_id text COLLATE "C" PRIMARY KEY,
    asset_id      text COLLATE "C" NOT NULL CONSTRAINT deployments_asset_id_fkey REFERENCES assets,
    chain_id      text COLLATE "C" NOT NULL CONSTRAINT deployments_chain_id_fkey REFERENCES chains,
    chain_name    text,
    address       text,
    decimals      integer,
    deployed_at   timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz,
    metadata      jsonb
);
-- Addresses in hexadecimal are the same in upper and lower case. None at all is that of the chain's native asset.
CREATE UNIQUE INDEX IF NOT EXISTS deployments_address_key ON deployments (
    chain_id,
    (CASE WHEN lower(left(address, 2)) = '0x' THEN lower(address) ELSE coalesce(address, '') END)
);
CREATE INDEX IF NOT EXISTS deployments_by_asset ON deployments (asset_id, created_at, deployment_id);
CREATE INDEX IF NOT EXISTS deployments_by_chain ON deployments (chain_id, created_at, deployment_id);

CREATE TABLE IF NOT EXISTS venues (
    venue_id         text COLLATE "C" PRIMARY KEY,
    name             text NOT NULL,
    venue_type       integer,
    chain_id         text COLLATE "C" CONSTRAINT venues_chain_id_fkey REFERENCES chains,
    protocol_address text,
    website_url      text,
    api_endpoint     text,
    is_active        boolean,
    created_at       timestamptz NOT NULL,
    metadata         jsonb
);
CREATE UNIQUE INDEX IF NOT EXISTS venues_name_key ON venues (lower(name), coalesce(chain_id, ''));
CREATE INDEX IF NOT EXISTS venues_by_age ON venues (created_at, venue_id);

CREATE TABLE IF NOT EXISTS venue_assets (
    venue_id           text COLLATE "C" NOT NULL CONSTRAINT venue_assets_venue_id_fkey REFERENCES venues,
    asset_id           text COLLATE "C" NOT NULL CONSTRAINT venue_assets_asset_id_fkey REFERENCES assets,
    venue_asset_symbol text,
    deployment_id      text COLLATE "C" CONSTRAINT venue_assets_deployment_id_fkey REFERENCES deployments,
    deposit_enabled    boolean,
    withdraw_enabled   boolean,
    trading_enabled    boolean,
    min_deposit        double precision,
    min_withdrawal     double precision,
    withdrawal_fee     double precision,
    deposit_fee        double precision,
    listed_at          timestamptz NOT NULL,
    delisted_at        timestamptz,
    is_active          boolean,
    metadata           jsonb,
    PRIMARY KEY (venue_id, asset_id)
);
CREATE INDEX IF NOT EXISTS venue_assets_by_asset ON venue_assets (asset_id, listed_at, venue_id);
