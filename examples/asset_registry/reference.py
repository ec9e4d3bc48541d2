"""A few dozen well-known chains, assets, deployments, venues and listings, to begin with.

Assets are named by their symbols here and chains and venues by their names; the registry gives them ids.

>>> len(ASSETS), len(CHAINS), len(DEPLOYMENTS), len(VENUES), len(LISTINGS)
(28, 16, 44, 12, 36)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cqc.assets.v1.asset_pb2 import AssetType
from cqc.services.v1.asset_registry_pb2 import (
    CreateAssetDeploymentRequest,
    CreateAssetRequest,
    CreateChainRequest,
    CreateVenueAssetRequest,
    CreateVenueRequest,
)
from cqc.venues.v1.venue_pb2 import VenueType

if TYPE_CHECKING:
    from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryAsyncStub

NATIVE = AssetType.ASSET_TYPE_NATIVE
ERC20 = AssetType.ASSET_TYPE_ERC20
WRAPPED = AssetType.ASSET_TYPE_WRAPPED
RECEIPT = AssetType.ASSET_TYPE_RECEIPT_TOKEN
CEX = VenueType.VENUE_TYPE_CEX
DEX = VenueType.VENUE_TYPE_DEX
AGGREGATOR = VenueType.VENUE_TYPE_DEX_AGGREGATOR
BRIDGE = VenueType.VENUE_TYPE_BRIDGE
LENDING = VenueType.VENUE_TYPE_LENDING


class ReferenceAsset(NamedTuple):
    """An asset; its symbol stands for it below."""

    symbol: str
    name: str
    asset_type: AssetType.ValueType
    category: str
    website_url: str


class ReferenceChain(NamedTuple):
    """A chain; `number` is its network's (EIP-155), None where networks have none."""

    name: str
    chain_type: str
    number: int | None
    native_asset: str
    explorer_url: str


class ReferenceDeployment(NamedTuple):
    """An asset on a chain; no address for the chain's native asset."""

    asset: str
    chain: str
    decimals: int
    address: str | None = None


class ReferenceVenue(NamedTuple):
    """A venue; `chain` for those that live on one."""

    name: str
    venue_type: VenueType.ValueType
    website_url: str
    chain: str | None = None


class ReferenceListing(NamedTuple):
    """An asset at a venue, under the venue's symbol."""

    venue: str
    asset: str
    symbol: str


ASSETS = (
    ReferenceAsset("BTC", "Bitcoin", NATIVE, "layer-1", "https://bitcoin.org"),
    ReferenceAsset("ETH", "Ether", NATIVE, "layer-1", "https://ethereum.org"),
    ReferenceAsset("SOL", "Solana", NATIVE, "layer-1", "https://solana.com"),
    ReferenceAsset("BNB", "BNB", NATIVE, "layer-1", "https://www.bnbchain.org"),
    ReferenceAsset("POL", "Polygon Ecosystem Token", NATIVE, "layer-2", "https://polygon.technology"),
    ReferenceAsset("AVAX", "Avalanche", NATIVE, "layer-1", "https://www.avax.network"),
    ReferenceAsset("LTC", "Litecoin", NATIVE, "payments", "https://litecoin.org"),
    ReferenceAsset("DOGE", "Dogecoin", NATIVE, "meme", "https://dogecoin.com"),
    ReferenceAsset("XRP", "XRP", NATIVE, "payments", "https://xrpl.org"),
    ReferenceAsset("ADA", "Cardano", NATIVE, "layer-1", "https://cardano.org"),
    ReferenceAsset("ATOM", "Cosmos Hub", NATIVE, "layer-1", "https://cosmos.network"),
    ReferenceAsset("XDAI", "xDAI", NATIVE, "stablecoin", "https://www.gnosis.io"),
    ReferenceAsset("USDC", "USD Coin", ERC20, "stablecoin", "https://www.circle.com/usdc"),
    ReferenceAsset("USDT", "Tether USD", ERC20, "stablecoin", "https://tether.to"),
    ReferenceAsset("DAI", "Dai Stablecoin", ERC20, "stablecoin", "https://makerdao.com"),
    ReferenceAsset("WETH", "Wrapped Ether", WRAPPED, "wrapped", "https://weth.io"),
    ReferenceAsset("WBTC", "Wrapped Bitcoin", WRAPPED, "wrapped", "https://wbtc.network"),
    ReferenceAsset("stETH", "Lido Staked Ether", RECEIPT, "liquid-staking", "https://lido.fi"),
    ReferenceAsset("wstETH", "Wrapped Lido Staked Ether", WRAPPED, "liquid-staking", "https://lido.fi"),
    ReferenceAsset("LINK", "Chainlink", ERC20, "oracle", "https://chain.link"),
    ReferenceAsset("UNI", "Uniswap", ERC20, "defi", "https://uniswap.org"),
    ReferenceAsset("AAVE", "Aave", ERC20, "defi", "https://aave.com"),
    ReferenceAsset("MKR", "Maker", ERC20, "defi", "https://makerdao.com"),
    ReferenceAsset("LDO", "Lido DAO", ERC20, "defi", "https://lido.fi"),
    ReferenceAsset("CRV", "Curve DAO Token", ERC20, "defi", "https://www.curve.finance"),
    ReferenceAsset("SHIB", "Shiba Inu", ERC20, "meme", "https://shibatoken.com"),
    ReferenceAsset("ARB", "Arbitrum", ERC20, "layer-2", "https://arbitrum.io"),
    ReferenceAsset("OP", "Optimism", ERC20, "layer-2", "https://www.optimism.io"),
)

CHAINS = (
    ReferenceChain("Ethereum", "evm", 1, "ETH", "https://etherscan.io"),
    ReferenceChain("OP Mainnet", "evm", 10, "ETH", "https://optimistic.etherscan.io"),
    ReferenceChain("BNB Smart Chain", "evm", 56, "BNB", "https://bscscan.com"),
    ReferenceChain("Gnosis", "evm", 100, "XDAI", "https://gnosisscan.io"),
    ReferenceChain("Polygon PoS", "evm", 137, "POL", "https://polygonscan.com"),
    ReferenceChain("Base", "evm", 8453, "ETH", "https://basescan.org"),
    ReferenceChain("Arbitrum One", "evm", 42161, "ETH", "https://arbiscan.io"),
    ReferenceChain("Avalanche C-Chain", "evm", 43114, "AVAX", "https://snowtrace.io"),
    ReferenceChain("Linea", "evm", 59144, "ETH", "https://lineascan.build"),
    ReferenceChain("Scroll", "evm", 534352, "ETH", "https://scrollscan.com"),
    ReferenceChain("Bitcoin", "utxo", None, "BTC", "https://mempool.space"),
    ReferenceChain("Litecoin", "utxo", None, "LTC", "https://litecoinspace.org"),
    ReferenceChain("Dogecoin", "utxo", None, "DOGE", "https://dogechain.info"),
    ReferenceChain("Solana", "svm", None, "SOL", "https://explorer.solana.com"),
    ReferenceChain("XRP Ledger", "xrpl", None, "XRP", "https://livenet.xrpl.org"),
    ReferenceChain("Cosmos Hub", "cosmos", None, "ATOM", "https://www.mintscan.io/cosmos"),
)

DEPLOYMENTS = (
    ReferenceDeployment("ETH", "Ethereum", 18),
    ReferenceDeployment("ETH", "OP Mainnet", 18),
    ReferenceDeployment("ETH", "Base", 18),
    ReferenceDeployment("ETH", "Arbitrum One", 18),
    ReferenceDeployment("ETH", "Linea", 18),
    ReferenceDeployment("ETH", "Scroll", 18),
    ReferenceDeployment("BNB", "BNB Smart Chain", 18),
    ReferenceDeployment("XDAI", "Gnosis", 18),
    ReferenceDeployment("POL", "Polygon PoS", 18),
    ReferenceDeployment("AVAX", "Avalanche C-Chain", 18),
    ReferenceDeployment("BTC", "Bitcoin", 8),
    ReferenceDeployment("LTC", "Litecoin", 8),
    ReferenceDeployment("DOGE", "Dogecoin", 8),
    ReferenceDeployment("SOL", "Solana", 9),
    ReferenceDeployment("XRP", "XRP Ledger", 6),
    ReferenceDeployment("ATOM", "Cosmos Hub", 6),
    ReferenceDeployment("USDC", "Ethereum", 6, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
    ReferenceDeployment("USDC", "OP Mainnet", 6, "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85"),
    ReferenceDeployment("USDC", "Polygon PoS", 6, "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"),
    ReferenceDeployment("USDC", "Base", 6, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
    ReferenceDeployment("USDC", "Arbitrum One", 6, "0xaf88d065e77c8cC2239327C5EDb3A432268e5831"),
    ReferenceDeployment("USDC", "Avalanche C-Chain", 6, "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"),
    ReferenceDeployment("USDC", "Solana", 6, "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"),
    ReferenceDeployment("USDT", "Ethereum", 6, "0xdAC17F958D2ee523a2206206994597C13D831ec7"),
    ReferenceDeployment("USDT", "Solana", 6, "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB"),
    ReferenceDeployment("DAI", "Ethereum", 18, "0x6B175474E89094C44Da98b954EedeAC495271d0F"),
    ReferenceDeployment("WETH", "Ethereum", 18, "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"),
    ReferenceDeployment("WETH", "OP Mainnet", 18, "0x4200000000000000000000000000000000000006"),
    ReferenceDeployment("WETH", "Base", 18, "0x4200000000000000000000000000000000000006"),
    ReferenceDeployment("WETH", "Arbitrum One", 18, "0x82aF49447D8a07e3bd95BD0d56f35241523fBab1"),
    ReferenceDeployment("WBTC", "Ethereum", 8, "0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599"),
    ReferenceDeployment("WBTC", "Arbitrum One", 8, "0x2f2a2543B76A4166549F7aaB2e75Bef0aefC5B0f"),
    ReferenceDeployment("stETH", "Ethereum", 18, "0xae7ab96520DE3A18E5e111B5EaAb095312D7fE84"),
    ReferenceDeployment("wstETH", "Ethereum", 18, "0x7f39C581F595B53c5cb19bD0b3f8dA6c935E2Ca0"),
    ReferenceDeployment("wstETH", "Arbitrum One", 18, "0x5979D7b546E38E414F7E9822514be443A4800529"),
    ReferenceDeployment("LINK", "Ethereum", 18, "0x514910771AF9Ca656af840dff83E8264EcF986CA"),
    ReferenceDeployment("UNI", "Ethereum", 18, "0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984"),
    ReferenceDeployment("AAVE", "Ethereum", 18, "0x7Fc66500c84A76Ad7e9c93437bFc5Ac33E2DDaE9"),
    ReferenceDeployment("MKR", "Ethereum", 18, "0x9f8F72aA9304c8B593d555F12eF6589cC3A579A2"),
    ReferenceDeployment("LDO", "Ethereum", 18, "0x5A98FcBEA516Cf06857215779Fd812CA3beF1B32"),
    ReferenceDeployment("CRV", "Ethereum", 18, "0xD533a949740bb3306d119CC777fa900bA034cd52"),
    ReferenceDeployment("SHIB", "Ethereum", 18, "0x95aD61b0a150d79219dCF64E1E6Cc01f0B64C4cE"),
    ReferenceDeployment("ARB", "Arbitrum One", 18, "0x912CE59144191C1204E64559FE8253a0e49E6548"),
    ReferenceDeployment("OP", "OP Mainnet", 18, "0x4200000000000000000000000000000000000042"),
)

VENUES = (
    ReferenceVenue("Binance", CEX, "https://www.binance.com"),
    ReferenceVenue("Coinbase Exchange", CEX, "https://exchange.coinbase.com"),
    ReferenceVenue("Kraken", CEX, "https://www.kraken.com"),
    ReferenceVenue("Bitstamp", CEX, "https://www.bitstamp.net"),
    ReferenceVenue("OKX", CEX, "https://www.okx.com"),
    ReferenceVenue("Uniswap", DEX, "https://uniswap.org", "Ethereum"),
    ReferenceVenue("Uniswap", DEX, "https://uniswap.org", "Arbitrum One"),
    ReferenceVenue("Curve", DEX, "https://www.curve.finance", "Ethereum"),
    ReferenceVenue("Orca", DEX, "https://www.orca.so", "Solana"),
    ReferenceVenue("1inch", AGGREGATOR, "https://1inch.io"),
    ReferenceVenue("Stargate", BRIDGE, "https://stargate.finance"),
    ReferenceVenue("Aave", LENDING, "https://aave.com", "Ethereum"),
)

# Kraken's older symbols are its own: XXBT and XETH are what others call BTC and ETH.
LISTINGS = (
    ReferenceListing("Binance", "BTC", "BTC"),
    ReferenceListing("Binance", "ETH", "ETH"),
    ReferenceListing("Binance", "SOL", "SOL"),
    ReferenceListing("Binance", "BNB", "BNB"),
    ReferenceListing("Binance", "XRP", "XRP"),
    ReferenceListing("Binance", "ADA", "ADA"),
    ReferenceListing("Binance", "DOGE", "DOGE"),
    ReferenceListing("Binance", "LTC", "LTC"),
    ReferenceListing("Binance", "LINK", "LINK"),
    ReferenceListing("Binance", "UNI", "UNI"),
    ReferenceListing("Binance", "USDC", "USDC"),
    ReferenceListing("Binance", "SHIB", "SHIB"),
    ReferenceListing("Coinbase Exchange", "BTC", "BTC"),
    ReferenceListing("Coinbase Exchange", "ETH", "ETH"),
    ReferenceListing("Coinbase Exchange", "SOL", "SOL"),
    ReferenceListing("Coinbase Exchange", "XRP", "XRP"),
    ReferenceListing("Coinbase Exchange", "ADA", "ADA"),
    ReferenceListing("Coinbase Exchange", "LTC", "LTC"),
    ReferenceListing("Coinbase Exchange", "LINK", "LINK"),
    ReferenceListing("Coinbase Exchange", "USDC", "USDC"),
    ReferenceListing("Coinbase Exchange", "USDT", "USDT"),
    ReferenceListing("Kraken", "BTC", "XXBT"),
    ReferenceListing("Kraken", "ETH", "XETH"),
    ReferenceListing("Kraken", "LTC", "XLTC"),
    ReferenceListing("Kraken", "XRP", "XXRP"),
    ReferenceListing("Kraken", "DOGE", "XXDG"),
    ReferenceListing("Kraken", "USDC", "USDC"),
    ReferenceListing("Curve", "USDC", "USDC"),
    ReferenceListing("Curve", "USDT", "USDT"),
    ReferenceListing("Curve", "DAI", "DAI"),
    ReferenceListing("Curve", "CRV", "CRV"),
    ReferenceListing("Curve", "stETH", "stETH"),
    ReferenceListing("Aave", "WETH", "WETH"),
    ReferenceListing("Aave", "WBTC", "WBTC"),
    ReferenceListing("Aave", "wstETH", "wstETH"),
    ReferenceListing("Aave", "AAVE", "AAVE"),
)


class ReferenceIds(NamedTuple):
    """The ids that a registry gave to the reference set: by symbol, by chain, by venue and its chain."""

    assets: dict[str, str]
    chains: dict[str, str]
    venues: dict[tuple[str, str | None], str]


async def register(stub: AssetRegistryAsyncStub) -> ReferenceIds:
    """Register the whole set at a registry that does not have it yet; gives the ids.

    Raises `AlreadyExists` where it has.
    """
    ids = ReferenceIds({}, {}, {})
    for asset in ASSETS:
        created = await stub.CreateAsset(CreateAssetRequest(**asset._asdict()))
        ids.assets[asset.symbol] = created.asset.asset_id
    for chain in CHAINS:
        request = CreateChainRequest(
            name=chain.name,
            chain_type=chain.chain_type,
            chain_id=chain.number,
            native_asset_symbol=chain.native_asset,
            block_explorer_url=chain.explorer_url,
        )
        ids.chains[chain.name] = (await stub.CreateChain(request)).chain.chain_id
    for deployment in DEPLOYMENTS:
        await stub.CreateAssetDeployment(
            CreateAssetDeploymentRequest(
                asset_id=ids.assets[deployment.asset],
                chain_id=ids.chains[deployment.chain],
                contract_address=deployment.address,
                decimals=deployment.decimals,
                is_native=deployment.address is None,
            )
        )
    for venue in VENUES:
        chain_id = ids.chains[venue.chain] if venue.chain else None
        answer = await stub.CreateVenue(
            CreateVenueRequest(
                name=venue.name, venue_type=venue.venue_type, website_url=venue.website_url, chain_id=chain_id
            )
        )
        ids.venues[venue.name, venue.chain] = answer.venue.venue_id
    at = {venue.name: ids.venues[venue.name, venue.chain] for venue in VENUES}
    for listing in LISTINGS:
        await stub.CreateVenueAsset(
            CreateVenueAssetRequest(
                venue_id=at[listing.venue],
                asset_id=ids.assets[listing.asset],
                venue_asset_symbol=listing.symbol,
                trading_enabled=True,
            )
        )
    return ids
