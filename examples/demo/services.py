"""Both services in one process, over one bus in memory; what `chassis run` does for one of them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from chassis import ServiceChassis
from chassis.bus import MemoryBroker
from examples import asset_registry, listing_watch
from examples.asset_registry.service import AssetRegistry
from examples.listing_watch.service import ListingWatch


def _service(cls: type[ServiceChassis], package: str, broker: MemoryBroker) -> ServiceChassis:
    return cls(cls.configure(file=Path(package).parent / "config.yaml"), broker=broker)


async def main() -> None:
    """Run both until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = MemoryBroker()
    services = [
        _service(AssetRegistry, str(asset_registry.__file__), broker),
        _service(ListingWatch, str(listing_watch.__file__), broker),
    ]
    for service in services:
        # Each in a task, and so in a context, of its own: its log lines are its own.
        await asyncio.create_task(service.start())
    await stop.wait()
    for service in reversed(services):
        await asyncio.create_task(service.stop())


if __name__ == "__main__":
    asyncio.run(main())
