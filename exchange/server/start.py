"""From configuration to an Exchange: read files, open storage, restore tree and membership, or begin a log.

Invariants: nothing is served unless the stored chain verifies, its anchor is the configured genesis, the
log key is the roster's, and the manifest is co-signed by the roster's custodians; every failure is a
ConfigError naming file or key.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from signalexchange.credentials import load_private_key
from signalexchange.errors import ConfigError, ExchangeError, MalformedError
from signalexchange.manifest import KeyManifest, open_manifest
from signalexchange.note import Signer
from signalexchange.roster import Roster, RosterChain

from exchange.domain.membership import Membership
from exchange.server.clock import Clock
from exchange.server.config import HubConfig
from exchange.storage.sqlite import SqliteStore
from exchange.usecases import enrol
from exchange.usecases.exchange import Exchange
from exchange.usecases.learning import Adopt
from exchange.usecases.writer import Writer


def read(path: Path, key: str) -> bytes:
    """A configured file. Raises ConfigError naming key and path."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}") from None


def load_signer(config: HubConfig) -> Signer:
    """The key that signs checkpoints."""
    try:
        return Signer.from_private_key(config.origin, load_private_key(config.log.key))
    except ConfigError as error:
        raise ConfigError(f"log.key: {error}") from None


def load_manifest(config: HubConfig, roster: Roster) -> KeyManifest:
    """The key manifest, verified."""
    try:
        return open_manifest(read(config.manifest, "manifest"), roster)
    except ConfigError:
        raise
    except ExchangeError as error:
        raise ConfigError(f"manifest: {config.manifest}: {error}") from None


async def open_exchange(
    config: HubConfig,
    store: SqliteStore,
    clock: Clock,
    failed: Callable[[Exception], None],
    report: Callable[[str, Exception], None],
) -> Exchange:
    """The exchange as last committed, or a new one. Raises ConfigError."""
    signer = await asyncio.to_thread(load_signer, config)
    try:
        genesis = RosterChain.start(read(config.roster.genesis, "roster.genesis"))
    except ConfigError:
        raise
    except ExchangeError as error:
        raise ConfigError(f"roster.genesis: {config.roster.genesis}: {error}") from None
    membership = await enrol.load(store)
    _check_identity(config, signer, membership, genesis)
    manifest = await asyncio.to_thread(
        load_manifest, config, membership.roster if membership else genesis.current
    )
    writer = Writer(store, await store.restore_tree(), signer, config.origin, clock.now, failed, report)
    if membership is None:
        text = read(config.rulebook, "rulebook")
        try:
            rulebook = enrol.check_rulebook(genesis.current, text)
        except ExchangeError as error:
            raise ConfigError(f"rulebook: {config.rulebook}: {error}") from None
        membership = await enrol.found(writer, genesis, rulebook)
    exchange = Exchange(
        store,
        writer,
        clock.now,
        config.origin,
        membership,
        manifest,
        tallies=await store.tallies(),
        version=await store.learned(),
    )
    if exchange.reliability.tallies and not exchange.learning.learned.version:
        await writer.submit(Adopt(exchange.learning, await store.matched_to()))
    try:
        await exchange.matching.start(clock.now(), report)
    except MalformedError as error:
        raise ConfigError(f"data_dir: {config.data_dir}: {error}") from None
    return exchange


def _check_identity(
    config: HubConfig, signer: Signer, membership: Membership | None, genesis: RosterChain
) -> None:
    """This log, this key, this anchor."""
    if membership is not None and membership.chain.versions[0][0] != genesis.versions[0][0]:
        raise ConfigError(
            f"roster.genesis: {config.roster.genesis}: not the genesis of the log in {config.data_dir}"
        )
    roster = membership.roster if membership else genesis.current
    if roster.origin != config.origin:
        raise ConfigError(f"origin: the roster is of {roster.origin}")
    if signer.verifier.vkey != roster.log_key:
        raise ConfigError(f"log.key: {config.log.key}: not the log key of the roster")
