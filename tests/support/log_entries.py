"""Entries of a running hub's log, as its database has them."""

from exchange.domain.records import Entry
from tests.support.exchange import Running


async def logged(hub: Running, *types: int) -> list[Entry]:
    """The log's entries of these types, with payloads."""
    store = hub.hub._store
    size = hub.hub._exchange.writer.head.tree.size
    indices = [entry.idx for entry in await store.entry_range(0, size) if entry.type in types]
    return await store.entries(indices)
