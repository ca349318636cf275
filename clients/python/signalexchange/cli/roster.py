"""The commands on who takes part and what customers are told: roster, notices."""

from typing import Any

import click

from signalexchange.cli.common import json_option, print_json, print_table, with_client
from signalexchange.client import ExchangeClient
from signalexchange.notices import NOTICES


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


@click.command()
@click.argument("code", required=False)
@click.option("--lang", type=click.Choice(["zh-CN", "en"]), help="One language; both if left out.")
@json_option
def notices(code: str | None, lang: str | None, as_json: bool) -> None:
    """Show the texts for customers, zh-CN and en, of every advised action and reason, or of one notice
    CODE.
    """
    if code is not None and code not in NOTICES:
        raise click.UsageError(f"no notice {code!r}; `signalexchange notices` lists them")
    wanted = [NOTICES[code]] if code is not None else list(NOTICES.values())
    documents: list[dict[str, Any]] = []
    for notice in wanted:
        texts = {"zh-CN": notice.zh_cn, "en": notice.en}
        documents.append({"code": notice.code, **({lang: texts[lang]} if lang is not None else texts)})
    if as_json:
        print_json(documents)
    else:
        print_table(list(documents[0]), [tuple(each.values()) for each in documents])
