"""Commands about matches: matches list, show, watch, set-aside."""

import datetime
import json
from collections.abc import Sequence
from typing import Any

import click

from signalexchange.cli.common import (
    enum_name,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    with_client,
)
from signalexchange.cli.watching import print_news, watch_options
from signalexchange.client import ExchangeClient
from signalexchange.envelope import ID_SIZE
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.match_client import MatchNews
from signalexchange.notices.law import packaged_law
from signalexchange.v1.identifier_pb2 import PartyKind
from signalexchange.v1.match_service_pb2 import (
    MATCH_STATUS_CONFIRMED,
    MATCH_STATUS_EXPIRED,
    MATCH_STATUS_OPEN,
    MATCH_STATUS_REFUTED,
    MATCH_STATUS_UNSPECIFIED,
    Match,
    MatchPart,
    MatchStatus,
    MatchThreshold,
    Pattern,
    SetAsideReason,
    SetAsideValue,
    ThresholdStanding,
)
from signalexchange.v1.notice_service_pb2 import LegalCounter, LegalLevel
from signalexchange.v1.signal_service_pb2 import Action, ContributionBucket

STATUSES = {
    "open": MATCH_STATUS_OPEN,
    "confirmed": MATCH_STATUS_CONFIRMED,
    "refuted": MATCH_STATUS_REFUTED,
    "expired": MATCH_STATUS_EXPIRED,
}
MAY_HAVE_PASSED = "may have passed"
COLUMNS = ("match", "pattern", "status", "confidence", "groups", "days", "total CNY", "advice", "references")


@click.group()
def matches() -> None:
    """See what the hub found by joining signals of several institutions.

    A match shows what concerns you: your own subjects and signals in it, how many independent groups reported
    parts of it, and what is advised. Never who reported what.
    """


@matches.command("list")
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only matches of this status.")
@json_option
@with_client
async def list_(client: ExchangeClient, status: str | None, as_json: bool) -> None:
    """List matches, oldest first."""
    wanted = STATUSES[status] if status else MATCH_STATUS_UNSPECIFIED
    found = [match async for match in client.matches.all(wanted)]
    if as_json:
        print_json([_match(client, match) for match in found])
    else:
        print_table(COLUMNS, [_row(client, match) for match in found])


@matches.command()
@click.argument("match_id")
@json_option
@with_client
async def show(client: ExchangeClient, match_id: str, as_json: bool) -> None:
    """Show one match with its subjects, what its confidence is made of, and the references behind it."""
    match = await client.matches.get(hex_bytes(match_id, ID_SIZE, "a match id"))
    document = _match(client, match)
    if as_json:
        print_json(document)
        return
    simple = {name: value for name, value in document.items() if not isinstance(value, list)}
    simple["confidence"] = f"{match.confidence / 10:.1f} %"
    simple["human_review"] = "yes" if match.human_review else "no"
    rows = [(name.replace("_", " "), "-" if value in ("", None) else value) for name, value in simple.items()]
    print_table(("field", "value"), rows)
    print_table(("confidence of", "weighs"), [(each["name"], each["weighs"]) for each in document["factors"]])
    print_table(
        ("subject", "type", "part", "advice", "references"),
        [
            (each["token"], each["type"], each["part"], each["advice"], _joined(each["references"]))
            for each in document["subjects"]
        ],
    )
    print_table(
        ("own signal", "reference"),
        [(each["signal_id"], each["reference"] or "-") for each in document["signals"]],
    )
    reached = [each for each in document["thresholds"] if each["standing"] == MAY_HAVE_PASSED]
    if reached:
        print_table(
            ("law", "counts", "level", "from CNY", "standing"),
            [
                (each["source"], each["counter"], each["level"], f"{each['yuan']:,}", each["standing"])
                for each in reached
            ],
        )
        note(packaged_law().disclaimer.en)


@matches.command()
@watch_options
@with_client
async def watch(client: ExchangeClient, from_now: bool, count: int | None, as_json: bool) -> None:
    """Print matches as they are found and whenever what you see of one changes.

    Goes on where the last watch of matches stopped; after a crash the last one may come again, none is lost.
    """
    if not as_json:
        click.echo("\t".join(COLUMNS))

    async def line(news: MatchNews) -> str:
        if as_json:
            return json.dumps(_match(client, news.match), ensure_ascii=False)
        return "\t".join(str(cell) for cell in _row(client, news.match))

    await print_news(client.matches.watch(from_now=from_now), line, count, client.matches.handled)


@matches.command("set-aside")
@json_option
@with_client
async def set_aside(client: ExchangeClient, as_json: bool) -> None:
    """List your own values that join nobody, because too many share them, and why."""
    values = [_set_aside(client, value) async for value in client.matches.set_aside()]
    if as_json:
        print_json(values)
        return
    print_table(
        ("value", "type", "reason", "limit", "references"),
        [
            (each["token"], each["type"], each["reason"], each["limit"], _joined(each["references"]))
            for each in values
        ],
    )


def _row(client: ExchangeClient, match: Match) -> tuple[object, ...]:
    known = _match(client, match)
    return (
        known["match_id"],
        known["pattern"],
        known["status"],
        f"{match.confidence / 10:.1f} %",
        match.groups,
        match.days or "-",
        known["total"] or "-",
        known["advice"],
        _joined(client.matches.references(match)),
    )


def _match(client: ExchangeClient, match: Match) -> dict[str, Any]:
    journal = client.journal
    return {
        "match_id": match.match_id.hex(),
        "pattern": enum_name(Pattern, match.pattern, "PATTERN_").replace("_", "-"),
        "status": enum_name(MatchStatus, match.status, "MATCH_STATUS_"),
        "confidence": match.confidence,
        "groups": match.groups,
        "kinds": [enum_name(PartyKind, kind, "PARTY_KIND_") for kind in match.kinds],
        "days": match.days,
        "total": _total(match.total_digits),
        "gain": _total(match.gain_digits),
        "advice": enum_name(Action, match.advice, "ACTION_"),
        "human_review": match.human_review,
        "notice_code": match.notice_code,
        "found_on": datetime.datetime.fromtimestamp(match.found_on, datetime.UTC).date().isoformat(),
        "rules_version": match.rules_version,
        "factors": [
            {
                "name": factor.name,
                "weighs": enum_name(ContributionBucket, factor.contribution, "CONTRIBUTION_BUCKET_"),
            }
            for factor in match.factors
        ],
        "subjects": [
            {
                "token": subject.token.value.hex(),
                "type": TYPE_NAMES.get(subject.token.type, str(subject.token.type)),
                "epoch": subject.token.epoch,
                "part": enum_name(MatchPart, subject.part, "MATCH_PART_"),
                "advice": enum_name(Action, subject.advice, "ACTION_"),
                "references": journal.references(subject.token.value),
            }
            for subject in match.subjects
        ],
        "thresholds": [_threshold(each) for each in match.thresholds],
        "signals": [
            {"signal_id": signal_id.hex(), "reference": note.reference if note is not None else None}
            for signal_id in match.signal_ids
            for note in (journal.signal(signal_id),)
        ],
    }


def _threshold(each: MatchThreshold) -> dict[str, Any]:
    """Where the match stands towards a threshold, with the law's source where the catalogue knows it."""
    counter = enum_name(LegalCounter, each.counter, "LEGAL_COUNTER_")
    level = enum_name(LegalLevel, each.level, "LEGAL_LEVEL_").replace("_", "-")
    fact = packaged_law().fact(each.statute)
    known = fact.thresholds if fact is not None else ()
    return {
        "statute": each.statute,
        "source": f"{fact.source} {fact.articles.en}" if fact is not None else each.statute,
        "counter": counter,
        "level": level,
        "yuan": next((row.yuan for row in known if (row.counter, row.level) == (counter, level)), 0),
        "standing": enum_name(ThresholdStanding, each.standing, "THRESHOLD_STANDING_").replace("_", " "),
    }


def _set_aside(client: ExchangeClient, value: SetAsideValue) -> dict[str, Any]:
    return {
        "token": value.token.value.hex(),
        "type": TYPE_NAMES.get(value.token.type, str(value.token.type)),
        "epoch": value.token.epoch,
        "reason": enum_name(SetAsideReason, value.reason, "SET_ASIDE_REASON_").replace("_", "-"),
        "limit": value.limit,
        "references": client.journal.references(value.token.value),
    }


def _total(digits: int) -> str:
    """The range that a number of decimal digits stands for; empty for none."""
    return f"{10 ** (digits - 1):,} to {10**digits - 1:,}" if digits else ""


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or "-"
