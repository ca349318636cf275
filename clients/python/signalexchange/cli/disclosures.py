"""Commands about disclosures to law enforcement: an authority's requests, a member's decisions."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from signalexchange.cli.common import (
    enum_name,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    settings,
    with_client,
)
from signalexchange.cli.disclosing import prepare, refuse, sign, submit
from signalexchange.cli.disclosure_keys import hpke_keys, officer_of, officer_option, write_secret
from signalexchange.cli.receiving import assemble, fetch
from signalexchange.cli.watching import print_news, watch_options
from signalexchange.client import ExchangeClient
from signalexchange.credentials import read_file
from signalexchange.disclosure_client import DisclosureNews
from signalexchange.disclosures import parse_statement
from signalexchange.envelope import ID_SIZE
from signalexchange.v1.disclosure_service_pb2 import (
    Disclosure,
    DisclosureDecision,
    DisclosureDecisionStatement,
    DisclosureReason,
    DisclosureRequestStatement,
    DisclosureState,
    Instrument,
)

DAY = 86_400
INSTRUMENTS = {
    name.removeprefix("INSTRUMENT_").lower().replace("_", "-"): value
    for name, value in Instrument.items()
    if value
}
COLUMNS = (
    "request",
    "inquiry",
    "requester",
    "member",
    "instrument",
    "reference",
    "state",
    "expires",
    "decision",
)


@click.group()
def disclosures() -> None:
    """Ask members under a legal instrument, and answer such requests.

    Law enforcement: request, list, show, watch, withdraw, fetch, assemble. Members: list, show, watch,
    open-scope, prepare, sign (two officers), submit, refuse. What is asked for and what is released is sealed
    from one side to the other; the hub sees who asks whom under which instrument.
    """


@disclosures.command()
@click.argument("members", metavar="MEMBER...", nargs=-1, required=True)
@click.option(
    "--instrument", type=click.Choice(sorted(INSTRUMENTS)), required=True, help="Kind of instrument."
)
@click.option("--reference", required=True, help="Its reference, such as a file number; the hub sees it.")
@click.option(
    "--issued",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day on which it was issued, UTC. Default: today.",
)
@click.option(
    "--deadline", type=click.IntRange(1, 90), required=True, help="Days that members have to decide."
)
@click.option(
    "--scope",
    "scope_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What is asked for.",
)
@click.option("--scope-text", help="What is asked for, as text.")
@officer_option
@json_option
@with_client
async def request(
    client: ExchangeClient,
    members: Sequence[str],
    instrument: str,
    reference: str,
    issued: datetime | None,
    deadline: int,
    scope_file: Path | None,
    scope_text: str | None,
    officer: str,
    as_json: bool,
) -> None:
    """Ask MEMBERs for the same under one instrument: one inquiry, to each member its own request.

    No member is told whom else you ask. The same instrument, reference and scope again is the same inquiry.
    """
    if (scope_file is None) == (scope_text is None):
        raise click.UsageError("give --scope FILE or --scope-text TEXT")
    scope = (scope_text or "").encode() if scope_file is None else read_file(scope_file, "scope")
    now = client.now()
    issued_at = now if issued is None else int(issued.replace(tzinfo=UTC).timestamp())
    asked = await client.disclosures.request(
        members,
        instrument=INSTRUMENTS[instrument],
        reference=reference,
        issued_at=issued_at,
        deadline=now + deadline * DAY,
        scope=scope,
        officer=officer_of(settings().config(), officer),
    )
    if as_json:
        print_json(
            [
                {
                    "member": each.member,
                    "request": each.request_id.hex(),
                    "inquiry": each.inquiry_id.hex(),
                    "index": each.index,
                    "repeated": each.repeated,
                }
                for each in asked
            ]
        )
        return
    print_table(
        ("member", "request", "inquiry", "log entry", ""),
        [
            (
                each.member,
                each.request_id.hex(),
                each.inquiry_id.hex(),
                each.index,
                "asked before" if each.repeated else "asked",
            )
            for each in asked
        ],
    )


@disclosures.command("list")
@click.option("--unfinished", is_flag=True, help="Only those that have not ended.")
@json_option
@with_client
async def list_(client: ExchangeClient, unfinished: bool, as_json: bool) -> None:
    """List disclosures, oldest first."""
    found = [document(each) async for each in client.disclosures.all(unfinished=unfinished)]
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, [tuple(each[name] for name in COLUMNS) for each in found])


@disclosures.command()
@click.argument("request_id", metavar="REQUEST")
@json_option
@with_client
async def show(client: ExchangeClient, request_id: str, as_json: bool) -> None:
    """Show one disclosure with its request, its decision, and where its steps stand in the log."""
    disclosure, _ = await client.disclosures.get(hex_bytes(request_id, ID_SIZE, "a request"))
    shown = document(disclosure)
    if as_json:
        print_json(shown)
    else:
        rows = [
            (name, ", ".join(map(str, value)) if isinstance(value, list) else value)
            for name, value in shown.items()
        ]
        print_table(("field", "value"), rows)


@disclosures.command()
@watch_options
@with_client
async def watch(client: ExchangeClient, from_now: bool, count: int | None, as_json: bool) -> None:
    """Print disclosures as they take a step: a member is asked, has decided, and so on.

    Goes on where the last watch of disclosures stopped; after a crash the last one may come again, none is
    lost.
    """
    if not as_json:
        click.echo("\t".join(COLUMNS))

    async def line(news: DisclosureNews) -> str:
        shown = document(news.disclosure)
        if as_json:
            return json.dumps(shown, ensure_ascii=False)
        return "\t".join(str(shown[name]) for name in COLUMNS)

    await print_news(client.disclosures.watch(from_now=from_now), line, count, client.disclosures.handled)


@disclosures.command("open-scope")
@click.argument("request_id", metavar="REQUEST")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
@with_client
async def open_scope(client: ExchangeClient, request_id: str, output: Path | None) -> None:
    """Open what the authority asks for. Needs the member's HPKE key."""
    id_ = hex_bytes(request_id, ID_SIZE, "a request")
    scope = await client.disclosures.scope(id_, hpke_keys(settings().config()))
    if output is not None:
        write_secret(output, scope)
        note(f"the scope is in {output}")
    else:
        click.echo(scope.decode("utf-8", "replace"))


@disclosures.command()
@click.argument("request_id", metavar="REQUEST")
@officer_option
@with_client
async def withdraw(client: ExchangeClient, request_id: str, officer: str) -> None:
    """Take a request back that was not answered, or whose package was not received yet."""
    id_ = hex_bytes(request_id, ID_SIZE, "a request")
    receipt = await client.disclosures.withdraw(id_, officer_of(settings().config(), officer))
    click.echo(f"withdrawn; log entry {receipt.index}")


for _command in (fetch, assemble, prepare, sign, submit, refuse):
    disclosures.add_command(_command)


def document(disclosure: Disclosure) -> dict[str, Any]:
    """A disclosure for people and scripts."""
    asked = parse_statement(DisclosureRequestStatement, disclosure.request.statement)
    found: dict[str, Any] = {
        "request": asked.request_id.hex(),
        "inquiry": asked.inquiry_id.hex(),
        "requester": asked.requester,
        "member": asked.member,
        "instrument": enum_name(Instrument, asked.instrument, "INSTRUMENT_").replace("_", "-"),
        "reference": asked.reference,
        "issued": day(asked.issued_at),
        "state": enum_name(DisclosureState, disclosure.state, "DISCLOSURE_STATE_"),
        "requested": day(disclosure.requested_at),
        "expires": day(disclosure.expires_at),
        "decision": "",
        "reason": "",
        "officers": [],
        "decided": day(disclosure.decided_at),
        "ended": day(disclosure.ended_at),
        "entries": list(disclosure.entries),
    }
    if disclosure.HasField("decision"):
        decision = parse_statement(DisclosureDecisionStatement, disclosure.decision.statement)
        found["decision"] = enum_name(DisclosureDecision, decision.decision, "DISCLOSURE_DECISION_")
        if decision.reason:
            found["reason"] = enum_name(DisclosureReason, decision.reason, "DISCLOSURE_REASON_")
        found["officers"] = [each.key_id for each in disclosure.decision.signatures]
    return found


def day(seconds: int) -> str:
    """A time for people, UTC; empty for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else ""
