"""The commands on who takes part: roster."""

import click

from signalexchange.cli.common import json_option, print_json, print_table, with_client
from signalexchange.client import ExchangeClient


@click.group()
def roster() -> None:
    """Show and verify the roster, the root of trust."""


@roster.command()
@json_option
@with_client
async def show(client: ExchangeClient, as_json: bool) -> None:
    """Show who takes part, as the newest roster version says, and who is suspended."""
    current = await client.roster.roster()
    suspended = client.roster.suspended
    if as_json:
        print_json({**current.model_dump(mode="json"), "suspended": list(suspended)})
        return
    rows: list[tuple[object, ...]] = [
        (party.id, party.kind, party.group, "suspended" if party.id in suspended else "enrolled")
        for party in current.parties
    ]
    rows += [(each.id, f"custodian {each.index}", each.group, "enrolled") for each in current.custodians]
    print_table(("party", "kind", "group", "standing"), rows)
    click.echo(f"version {current.version} of {current.origin}; {current.threshold} custodians make a token")


@roster.command()
@json_option
@with_client
async def verify(client: ExchangeClient, as_json: bool) -> None:
    """Verify the chain of roster versions from the trust anchor on, and the rulebook against it."""
    await client.roster.refresh()
    versions = [
        {
            "version": each.version,
            "issued_at": each.issued_at,
            "log_entry": client.roster.indices[each.version],
        }
        for _, each in client.roster.chain.versions
    ]
    if as_json:
        print_json({"origin": client.roster.chain.current.origin, "versions": versions})
    else:
        print_table(("version", "issued at", "log entry"), [tuple(each.values()) for each in versions])
        click.echo("verified: each version is signed by the quorum of the one before")
