"""The command `doctor`: is everything there that this party needs, and does it work?"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from signalexchange.cli.common import REFUSED, Settings, json_option, print_json, print_table, settings
from signalexchange.client import ExchangeClient
from signalexchange.config import MemberConfig
from signalexchange.connection import Connection
from signalexchange.credentials import load_hpke_key, load_private_key
from signalexchange.errors import ConfigError, ExchangeError
from signalexchange.token_client import fetch_manifest

DAY = 86_400
SOON = 14 * DAY


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what, whether it is well, and what was found."""

    what: str
    well: bool
    found: str


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check configuration, keys, certificate, hub, log, roster, journal and each custodian; charges no
    budget.

    Ends with 1 where anything is not well.
    """
    findings = asyncio.run(_examine(settings()))
    if as_json:
        print_json([{"check": each.what, "ok": each.well, "found": each.found} for each in findings])
    else:
        print_table(
            ("check", "", "found"),
            [(each.what, "ok" if each.well else "BAD", each.found) for each in findings],
        )
    if not all(each.well for each in findings):
        raise click.exceptions.Exit(REFUSED)


async def _examine(given: Settings) -> list[Finding]:
    findings: list[Finding] = []

    async def check(what: str, work: Callable[[], Awaitable[str]]) -> bool:
        try:
            findings.append(Finding(what, True, await work()))
        except ExchangeError as error:
            findings.append(Finding(what, False, " ".join(str(error).split())))
        return findings[-1].well

    loaded: list[Any] = []

    async def configuration() -> str:
        config = given.config()
        loaded.append(config)
        return f"{given.config_path}: member {config.member}"

    async def keys() -> str:
        loaded.append(ExchangeClient.from_config(loaded[0]))
        return "certificate, keys, trust anchor and journal can be used"

    if not await check("configuration", configuration):
        return findings
    config: MemberConfig = loaded[0]
    await check("certificate", lambda: _certificate(config))
    if not await check("keys", keys):
        return findings
    async with loaded[1] as client:
        if await check("hub", lambda: _roster(client)):
            versions: dict[str, int] = {}
            await check("identity", lambda: _identity(client, config))
            await check("log", lambda: _log(client))
            await check("signing key", lambda: _signing_key(client, config))
            for key_id in config.officers:
                await check(f"officer's key {key_id}", partial(_officer_key, client, config, key_id))
            for key_id in config.hpke:
                await check(f"HPKE key {key_id}", partial(_hpke_key, client, config, key_id))
            for name in config.custodians:
                await check(f"custodian {name}", partial(_custodian, client, config, name, versions))
            await check("custodians", lambda: _agreement(client, versions, config))
        if config.journal is not None:
            await check("journal", lambda: _journal(client))
    return findings


async def _certificate(config: MemberConfig) -> str:
    left = config.tls.files.expires_at() - int(time.time())
    if left <= 0:
        raise ConfigError(f"{config.tls.certificate}: the certificate has expired; renew it")
    if left < SOON:
        raise ConfigError(
            f"{config.tls.certificate}: the certificate expires in {left // DAY} days; renew it"
        )
    return f"valid for {left // DAY} more days"


async def _roster(client: ExchangeClient) -> str:
    roster = await client.roster.roster()
    party = roster.party(client.member)
    if party is None:
        raise ConfigError(f"member {client.member!r} is not on the roster")
    if client.member in client.roster.suspended:
        raise ConfigError(f"member {client.member!r} is suspended")
    return f"roster version {roster.version} verified; {party.kind} of group {party.group}"


async def _identity(client: ExchangeClient, config: MemberConfig) -> str:
    """Any enrolled party's certificate opens the connection: that it is this party's is seen here alone."""
    held, roster = config.tls.files.spiffe_id(), await client.roster.roster()
    party = roster.party(client.member)
    if party is None or party.spiffe_id != held:
        owner = roster.party_by_spiffe(held)
        whose = f"that of {owner.id}" if owner is not None else "on nobody's entry of the roster"
        raise ConfigError(
            f"{config.tls.certificate}: the certificate's name {held} is {whose}, not {client.member}'s"
        )
    return f"the certificate is {client.member}'s: {held}"


async def _log(client: ExchangeClient) -> str:
    checkpoint = await client.log.accept(await client.log.checkpoint())
    return f"{checkpoint.origin}: {checkpoint.size} entries, extends what was seen before"


async def _signing_key(client: ExchangeClient, config: MemberConfig) -> str:
    roster = await client.roster.roster()
    if config.signing is None:
        return "none configured; publishing is not possible"
    if roster.signing_key(client.member, config.signing.key_id, int(time.time())) is None:
        raise ConfigError(
            f"the roster lists no key {config.signing.key_id!r} of this member that is valid now"
        )
    return f"{config.signing.key_id} is on the roster"


async def _officer_key(client: ExchangeClient, config: MemberConfig, key_id: str) -> str:
    own = load_private_key(config.officers[key_id]).public_key().public_bytes_raw()
    listed = (await client.roster.roster()).officer_key(client.member, key_id, client.now())
    if listed is None or listed.public_key != own:
        raise ConfigError(f"the roster lists no such key {key_id!r} of an officer of this party, valid now")
    return f"on the roster, of {listed.officer}"


async def _hpke_key(client: ExchangeClient, config: MemberConfig, key_id: str) -> str:
    own = load_hpke_key(config.hpke[key_id]).public_key().public_bytes_raw()
    party = (await client.roster.roster()).party(client.member)
    if party is None or own not in {key.public_key for key in party.hpke_keys if key.id == key_id}:
        raise ConfigError(f"the roster lists no such key {key_id!r} of this party")
    return "on the roster"


async def _custodian(
    client: ExchangeClient, config: MemberConfig, name: str, versions: dict[str, int]
) -> str:
    roster = await client.roster.roster()
    if name not in {custodian.id for custodian in roster.custodians}:
        raise ConfigError("not a custodian of the roster")
    async with AsyncExitStack() as stack:
        connection = Connection(config.custodians[name], config.tls.files)
        stack.push_async_callback(connection.close)
        channel = await stack.enter_async_context(connection.channel())
        manifest = await fetch_manifest(roster, {name: channel})
    valid = sum(key.valid_at(int(time.time())) for key in manifest.keys)
    if valid == 0:
        raise ConfigError(f"key manifest version {manifest.version} has no key that is valid now")
    versions[name] = manifest.version
    return f"key manifest version {manifest.version} verified; {valid} keys valid now"


async def _agreement(client: ExchangeClient, versions: dict[str, int], config: MemberConfig) -> str:
    if not config.custodians:
        return "none configured; computing tokens is not possible"
    needed = (await client.roster.roster()).threshold
    if len(versions) < needed:
        raise ConfigError(
            f"{len(versions)} of {len(config.custodians)} answer, and a token takes {needed}; "
            "computing tokens is not possible"
        )
    if len(set(versions.values())) > 1:
        held = ", ".join(f"{name}: {version}" for name, version in versions.items())
        raise ConfigError(f"the custodians hand out different versions of the key manifest ({held})")
    return f"{len(versions)} of {len(config.custodians)} answer, with the same key manifest"


async def _journal(client: ExchangeClient) -> str:
    pending = len(client.journal.pending())
    return "nothing undecided" if not pending else f"{pending} undecided: signalexchange journal resume"
