"""The command that takes any file of flows, applies the member's gate and publishes what passes."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import click

from signalexchange.cli.common import (
    TYPES,
    Faults,
    json_option,
    note,
    print_json,
    print_table,
    progress,
    settings,
)
from signalexchange.cli.publishing import acknowledged, member_kind
from signalexchange.client import MAX_BATCH
from signalexchange.flows import WEAK_TYPES, Flow, in_order, read_flows, read_shared
from signalexchange.gate import Gate
from signalexchange.sending import Acknowledged
from signalexchange.signals import InvalidSignalError, SignalDraft, Subject, rule_violations, violations
from signalexchange.tables import SourceError

SEEN_EVERY = 1_000
"""Rows between two moves of the progress bar."""
END_TYPES = sorted(name for name, number in TYPES.items() if number not in WEAK_TYPES)


class Gated(NamedTuple):
    """What the gate made of a file: rows, customers seen, the drafts, and rows held back as the hub takes no
    more on their subject."""

    rows: int
    customers: int
    drafts: list[SignalDraft]
    held_back: int

    @property
    def published(self) -> int:
        """Rows that something is said of."""
        return len({draft.place for draft in self.drafts if draft.place and draft.code != "same-subject"})


@click.command("publish-flows")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="END=TYPE",
    help=f"Type of all payers or payees, as payer=phone; repeat. Types: {', '.join(END_TYPES)}.",
)
@click.option(
    "--shared",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of values known to be many unrelated people's, with columns type and value.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be published; ask and send nothing.")
@json_option
def publish_flows(
    file: Path, types: Sequence[str], shared: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Publish what of FILE, movements of money as this member sees them, is worth it.

    FILE is CSV, JSON Lines (.jsonl) or Parquet with one movement a row, in any order. Required columns: time,
    payer, payee, amount (CNY), and payer_type and payee_type or --type. Optional: kind (purchase, transfer,
    refund, repayment), refund (true: merchant to customer), credit, limit, order, logistics (moved, none,
    empty), device, address, payer_links, payee_links (type:value; …), reference. Times are Unix seconds or
    ISO 8601 with an offset.

    The gate keeps ordinary life back; docs/gate.md says what passes. Orders, references, amounts and exact
    times never leave. Publishing the same file again repeats nothing.

    Values in --shared, institutions' own accounts above all, are published as shared, so that they join
    nobody once another group says so too; transfers from and to them, bills and payouts, are kept back.
    """
    ends = _types(types)
    known = read_shared(shared) if shared is not None else []
    gated = _gate(file, ends.get("payer"), ends.get("payee"), known)
    if dry_run:
        _report(gated, as_json, {}, [])
        note(f"dry run: {len(gated.drafts)} signals; nothing was sent")
        return
    asyncio.run(_publish(gated, as_json))


def _types(given: Sequence[str]) -> dict[str, int]:
    ends: dict[str, int] = {}
    for each in given:
        end, _, name = each.partition("=")
        if end not in ("payer", "payee") or name not in END_TYPES or end in ends:
            raise click.UsageError(
                f"--type is payer=TYPE or payee=TYPE, each once, TYPE one of {', '.join(END_TYPES)}"
            )
        ends[end] = TYPES[name]
    return ends


def _gate(file: Path, payer_type: int | None, payee_type: int | None, shared: Sequence[Subject]) -> Gated:
    """Read the whole file and gate it; raises InvalidSignalError, for at most 32 of its faults with their
    total, or SourceError where the file can't be read to its end.
    """
    flows: list[Flow] = []
    faults = Faults()
    with progress("reading") as report:
        for number, flow in enumerate(read_flows(file, payer_type, payee_type), 1):
            if isinstance(flow, SourceError):
                faults.add_unread(flow)
            else:
                flows.append(flow)
            if number % SEEN_EVERY == 0:
                report(number, number)
    faults.check()
    if not flows:
        raise click.UsageError(f"{file} holds no flows")
    gate, drafts = Gate(shared=shared), list[SignalDraft]()
    with progress("gating") as report:
        for number, flow in enumerate(in_order(flows), 1):
            drafts += gate.offer(flow)
            if number % SEEN_EVERY == 0:
                report(number, len(flows))
    return Gated(len(flows), len({flow.customer for flow in flows}), drafts, gate.held_back)


async def _publish(gated: Gated, as_json: bool) -> None:
    done: list[Acknowledged] = []
    async with settings().client() as client:
        rulebook, kind, now = await client.roster.rulebook(), await member_kind(client), client.now()
        left_out: Counter[tuple[str, str, str]] = Counter()
        drafts: list[SignalDraft] = []
        for draft in gated.drafts:
            found = violations(draft, now) + rule_violations(draft, rulebook, kind, now)
            if found:
                left_out[(draft.code, *found[0])] += 1
            else:
                drafts.append(draft)
        if gated.drafts and not drafts:
            faults = [(f"{n} {code}, {field}", why) for (code, field, why), n in left_out.most_common()]
            raise InvalidSignalError("nothing was sent; no signal may be published", faults)
        with progress("publishing") as report:
            for batch in _batches(drafts):
                done.append(await client.publish(batch))
                report(sum(len(each.signal_ids) for each in done), len(drafts))
    _report(gated, as_json, left_out, done)
    note(f"{len(drafts)} signals acknowledged in {len(done)} batches; the receipts are in the journal")


def _batches(drafts: Sequence[SignalDraft]) -> Iterator[list[SignalDraft]]:
    """Batches of up to 1,000, each of signals that end together: so a file published again after its first
    signals have expired still gives the same batches of the others.
    """
    for _, day in groupby(sorted(drafts, key=lambda draft: draft.expires_at), lambda draft: draft.expires_at):
        of_day = list(day)
        for start in range(0, len(of_day), MAX_BATCH):
            yield of_day[start : start + MAX_BATCH]


def _report(
    gated: Gated, as_json: bool, left_out: dict[tuple[str, str, str], int], done: Sequence[Acknowledged]
) -> None:
    codes = Counter(draft.code for draft in gated.drafts)
    share = gated.published / gated.rows
    if as_json:
        document: dict[str, Any] = {
            "rows": gated.rows,
            "customers": gated.customers,
            "published_rows": gated.published,
            "published_share": round(share, 6),
            "signals": dict(sorted(codes.items())),
            "held_back": gated.held_back,
            "left_out": [
                {"code": code, "field": field, "why": why, "signals": count}
                for (code, field, why), count in sorted(left_out.items())
            ],
            "sent": bool(done),
            "batches": [acknowledged(each) for each in done],
        }
        print_json(document)
        return
    rows: list[tuple[str, object]] = [
        ("rows read", gated.rows),
        ("customers seen", gated.customers),
        ("rows published", f"{gated.published} ({share:.2%})"),
        *((f"signals {code}", count) for code, count in sorted(codes.items())),
        ("rows held back: too many on their subject", gated.held_back),
        *((f"left out: {code}, {field} {why}", n) for (code, field, why), n in sorted(left_out.items())),
        ("batches published before", sum(each.repeated for each in done)),
    ]
    print_table(("what", "number"), rows)
