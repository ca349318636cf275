"""Commands that say something: publish, withdraw."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from signalexchange.cli.common import (
    Faults,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    progress,
    settings,
    with_client,
)
from signalexchange.cli.preview import as_rows, preview
from signalexchange.client import MAX_BATCH, ExchangeClient
from signalexchange.errors import ConfigError
from signalexchange.publisher import tokenise
from signalexchange.rulebook import Rulebook
from signalexchange.sending import Acknowledged
from signalexchange.signals import (
    SIGNAL_ID_SIZE,
    SignalDraft,
    rule_violations,
    violations,
)
from signalexchange.sources import read_drafts, read_rows
from signalexchange.tables import SourceError
from signalexchange.v1.signal_pb2 import WithdrawalReason

REASONS = {
    "refuted": WithdrawalReason.WITHDRAWAL_REASON_REFUTED,
    "resolved": WithdrawalReason.WITHDRAWAL_REASON_RESOLVED,
    "published-in-error": WithdrawalReason.WITHDRAWAL_REASON_PUBLISHED_IN_ERROR,
    "erasure": WithdrawalReason.WITHDRAWAL_REASON_ERASURE,
}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dry-run", is_flag=True, help="Show field by field what would leave; send nothing to the hub."
)
@click.option(
    "--with-tokens", is_flag=True, help="In a dry run, ask the custodians for tokens; charges the budget."
)
@click.option(
    "--rows", type=click.IntRange(min=1), default=3, show_default=True, help="Rows a dry run's table shows."
)
@json_option
def publish(file: Path, dry_run: bool, with_tokens: bool, rows: int, as_json: bool) -> None:
    """Publish the signals of FILE, a CSV, JSON Lines (.jsonl) or Parquet file with one signal a row.

    Required columns: subject_type, subject, code, confidence (0 to 100), grade (suspected, corroborated,
    confirmed), first_seen, last_seen, reference, and expires_at or valid_days. Optional: amount (CNY),
    counterparty_type and counterparty, links (type:value; …), tlp (default amber), audience (bank; ecommerce;
    payment_provider), legal_basis (default fraud_prevention), detail. Times are Unix seconds or ISO 8601 with
    an offset.

    The whole file is checked before anything leaves. Batches of 1,000 get an id from their content:
    publishing the same file again, after a crash for instance, repeats nothing.
    """
    if with_tokens and not dry_run:
        raise click.UsageError("--with-tokens goes with --dry-run")
    work = _preview(file, with_tokens, rows, as_json) if dry_run else _publish(file, as_json)
    asyncio.run(work)


async def _publish(file: Path, as_json: bool) -> None:
    async with settings().client() as client:
        rulebook, kind = await client.roster.rulebook(), await member_kind(client)
        total = _check(file, client.now(), rulebook, kind)
        done: list[Acknowledged] = []
        with progress("publishing") as report:
            for batch in _batches(file):
                done.append(await client.publish(batch))
                report(sum(len(each.signal_ids) for each in done), total)
    if as_json:
        print_json({"signals": total, "batches": [acknowledged(each) for each in done]})
        return
    print_table(
        ("batch", "signals", "log entry", "published before"),
        [
            (each.id.hex(), len(each.signal_ids), each.index, "yes" if each.repeated else "no")
            for each in done
        ],
    )
    note(f"{total} signals acknowledged; the receipts are in the journal")


async def member_kind(client: ExchangeClient) -> str:
    """The kind of the member that the client is, such as "bank"; raises ConfigError."""
    party = (await client.roster.roster()).party(client.member)
    if party is None:
        raise ConfigError(f"member {client.member!r} is not on the roster")
    return party.kind


async def _preview(file: Path, with_tokens: bool, shown: int, as_json: bool) -> None:
    total = _check(file, int(time.time()))
    documents: list[dict[str, Any]] = []
    asked = 0
    client = settings().client() if with_tokens else None
    try:
        for number, batch in enumerate(_batches(file)):
            tokens = None if client is None else await tokenise(batch, client.custodians)
            asked += len(tokens or ())
            for at, draft in enumerate(batch, 1 + number * MAX_BATCH):
                if as_json:
                    documents.append({"row": at, "fields": as_rows(preview(draft, tokens))})
                elif at <= shown:
                    changes = preview(draft, tokens)
                    click.echo(f"row {at} of {total}")
                    rows = [(each.field, each.before, each.after) for each in changes]
                    print_table(("field", "yours", "what leaves"), rows)
            if not as_json and client is None and number * MAX_BATCH + len(batch) >= shown:
                break
    finally:
        if client is not None:
            await client.close()
    custodians = (
        f"custodians evaluated {asked} blinded identifiers" if with_tokens else "custodians were not asked"
    )
    batches = -(-total // MAX_BATCH)
    summary = f"dry run: {total} signals in {batches} batches; nothing was sent to the hub; {custodians}"
    if as_json:
        print_json(
            {
                "signals": total,
                "batches": batches,
                "sent": False,
                "custodians_asked": asked,
                "rows": documents,
            }
        )
    else:
        note(f"{summary}; the rulebook's rules are checked when publishing")


def _check(file: Path, now: int, rulebook: Rulebook | None = None, kind: str = "") -> int:
    """How many signals the file holds; raises InvalidSignalError, for at most 32 of its faults with their
    total, or SourceError where the file can't be read to its end.
    """
    total, faults = 0, Faults()
    for draft in read_rows(file):
        total += 1
        if isinstance(draft, SourceError):
            faults.add_unread(draft)
            continue
        found = violations(draft, now)
        if rulebook is not None:
            found += rule_violations(draft, rulebook, kind, now)
        for field, why in found:
            faults.add(f"{draft.place}, {field}", why)
    faults.check()
    if total == 0:
        raise click.UsageError(f"{file} holds no signals")
    return total


def _batches(file: Path) -> Iterator[list[SignalDraft]]:
    batch: list[SignalDraft] = []
    for draft in read_drafts(file):
        batch.append(draft)
        if len(batch) == MAX_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@click.command()
@click.argument("signal_ids", metavar="[SIGNAL_ID]...", nargs=-1)
@click.option(
    "--reference", "references", multiple=True, help="Withdraw all signals under a reference; repeat."
)
@click.option("--reason", type=click.Choice(list(REASONS)), required=True, help="Why they are taken back.")
@json_option
@with_client
async def withdraw(
    client: ExchangeClient, signal_ids: Sequence[str], references: Sequence[str], reason: str, as_json: bool
) -> None:
    """Take back signals of one's own, by id or by reference; everybody who was shown one is told.

    With the reason erasure the hub deletes their content for good.
    """
    ids = [hex_bytes(text, SIGNAL_ID_SIZE, "a signal id") for text in signal_ids]
    for reference in references:
        found = client.journal.signals_of(reference)
        if not found:
            raise click.UsageError(f"the journal has no signal under the reference {reference!r}")
        ids += [each.signal_id for each in found]
    ids = sorted(set(ids))
    if not ids:
        raise click.UsageError("give signal ids, or --reference")
    orders = [ids[start : start + MAX_BATCH] for start in range(0, len(ids), MAX_BATCH)]
    done = [await client.withdraw(order, REASONS[reason]) for order in orders]
    if as_json:
        print_json(
            {
                "signals": len(ids),
                "orders": [
                    acknowledged(replace(each, signal_ids=tuple(order)))
                    for each, order in zip(done, orders, strict=True)
                ],
            }
        )
    else:
        entries = ", ".join(str(each.index) for each in done)
        click.echo(f"{len(ids)} signals withdrawn; log entry {entries}")


def acknowledged(done: Acknowledged) -> dict[str, Any]:
    """What scripts read of an acknowledgement."""
    return {
        "id": done.id.hex(),
        "signals": [signal_id.hex() for signal_id in done.signal_ids],
        "index": done.index,
        "repeated": done.repeated,
    }
