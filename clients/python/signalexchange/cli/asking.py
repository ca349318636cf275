"""Commands that ask: tokenise, look-up, subscribe, unsubscribe, watch."""

import datetime
import json
from collections.abc import Sequence
from typing import Any

import click

from signalexchange.cli.common import (
    TYPES,
    enum_name,
    file_option,
    given_values,
    hex_bytes,
    json_option,
    note,
    print_json,
    print_table,
    progress,
    purpose_option,
    type_argument,
    values_argument,
    with_client,
)
from signalexchange.cli.watching import print_news, watch_options
from signalexchange.client import Answer, ExchangeClient
from signalexchange.notices import advice_notice
from signalexchange.tokens import TOKEN_SIZE
from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.signal_pb2 import Tlp
from signalexchange.v1.signal_service_pb2 import (
    Action,
    ContributionBucket,
    RiskBand,
    SignalChange,
    SubjectRisk,
)
from signalexchange.v1.token_service_pb2 import EVALUATION_PURPOSE_ROTATE, EVALUATION_PURPOSE_TOKENISE
from signalexchange.watch import WatchEvent

tokens_option = click.option(
    "--tokens", "are_tokens", is_flag=True, help="VALUES are tokens in hexadecimal digits."
)
epoch_option = click.option(
    "--epoch", type=click.IntRange(min=0), help="Key epoch; the newest valid if left out."
)


@click.command()
@type_argument
@values_argument
@file_option
@epoch_option
@click.option("--rotate", is_flag=True, help="Charge the rotation allowance, while two epochs overlap.")
@json_option
@with_client
async def tokenise(
    client: ExchangeClient,
    type_name: str,
    values: Sequence[str],
    file: Any,
    epoch: int | None,
    rotate: bool,
    as_json: bool,
) -> None:
    """Compute the tokens of identifiers of one TYPE with the custodians, and print them in order.

    Only blinded points leave this machine. Values on the command line can be seen by others on it; --file -
    reads them from standard input.
    """
    given = given_values(values, file)
    purpose = EVALUATION_PURPOSE_ROTATE if rotate else EVALUATION_PURPOSE_TOKENISE
    with progress("tokenising") as report:
        tokens = await client.tokens(
            TYPES[type_name], given, epoch=epoch, purpose=purpose, on_progress=report
        )
    if as_json:
        found = [token.value.hex() for token in tokens]
        print_json({"type": type_name, "epoch": tokens[0].epoch, "tokens": found})
    else:
        for token in tokens:
            click.echo(token.value.hex())


@click.command("look-up")
@type_argument
@values_argument
@file_option
@tokens_option
@epoch_option
@purpose_option
@json_option
@with_client
async def look_up(
    client: ExchangeClient,
    type_name: str,
    values: Sequence[str],
    file: Any,
    are_tokens: bool,
    epoch: int | None,
    purpose: str,
    as_json: bool,
) -> None:
    """Ask what other members know about subjects of one TYPE.

    The hub puts the access on its log before it answers. What is advised is never an automated sanction:
    where a person must decide, the answer says so.
    """
    given = given_values(values, file)
    tokens = await _tokens(client, type_name, given, are_tokens, epoch)
    with progress("looking up") as report:
        answers = await client.look_up(purpose, tokens, on_progress=report)
    if as_json:
        print_json(
            [{"value": value, **_answer(answer)} for value, answer in zip(given, answers, strict=True)]
        )
        return
    columns = ("value", "score", "band", "advice", "person decides", "groups", "days", "reasons", "log entry")
    rows = [(value, *_row(answer), answer.index) for value, answer in zip(given, answers, strict=True)]
    print_table(columns, rows)
    for action in sorted({answer.risk.advice for answer in answers if answer.risk is not None}):
        notice = advice_notice(action)
        note(f"{enum_name(Action, action, 'ACTION_')}: {notice.means.zh_cn} / {notice.means.en}")


@click.command()
@type_argument
@values_argument
@file_option
@epoch_option
@purpose_option
@json_option
@with_client
async def subscribe(
    client: ExchangeClient,
    type_name: str,
    values: Sequence[str],
    file: Any,
    epoch: int | None,
    purpose: str,
    as_json: bool,
) -> None:
    """Ask to be told, by `watch`, of new signals about subjects of one TYPE.

    The journal keeps which value stands behind which token, encrypted, so that an event leads back to it.
    """
    given = given_values(values, file)
    tokens = await _tokens(client, type_name, given, False, epoch)
    client.journal.remember({token.value: [value] for token, value in zip(tokens, given, strict=True)})
    ends = await client.subscribe(purpose, tokens)
    if as_json:
        print_json({"subscribed": len({token.value for token in tokens}), "expires_at": ends})
    else:
        click.echo(f"subscribed to {len({token.value for token in tokens})} subjects until {_date(ends)}")


@click.command()
@type_argument
@values_argument
@file_option
@tokens_option
@epoch_option
@json_option
@with_client
async def unsubscribe(
    client: ExchangeClient,
    type_name: str,
    values: Sequence[str],
    file: Any,
    are_tokens: bool,
    epoch: int | None,
    as_json: bool,
) -> None:
    """End subscriptions to subjects of one TYPE."""
    tokens = await _tokens(client, type_name, given_values(values, file), are_tokens, epoch)
    removed = await client.unsubscribe(tokens)
    if as_json:
        print_json({"removed": removed})
    else:
        click.echo(f"{removed} subscriptions ended")


@click.command()
@watch_options
@with_client
async def watch(client: ExchangeClient, from_now: bool, count: int | None, as_json: bool) -> None:
    """Print events as they come: the fate of own signals, corrections, news of subscribed subjects.

    Goes on where the last watch stopped. An event is handled once it is printed; after a crash the last one
    may come again, none is lost. Corrections of what you were shown are acknowledged, signed, soon after.
    Ends with an error where events were missed for good.
    """

    async def line(event: WatchEvent) -> str:
        document = _event(event)
        if as_json:
            return json.dumps(document, ensure_ascii=False)
        whose = "own" if event.own else "subscribed"
        references = ", ".join(document["references"]) or "-"
        return f"{document['change']}\t{whose}\t{document['signal_id']}\t{references}"

    await print_news(client.watch(from_now=from_now), line, count, client.handled)


async def _tokens(
    client: ExchangeClient, type_name: str, values: Sequence[str], are_tokens: bool, epoch: int | None
) -> list[SubjectToken]:
    type_ = IdentifierType.ValueType(TYPES[type_name])
    if are_tokens:
        found = [hex_bytes(value, TOKEN_SIZE, "a token") for value in values]
        if epoch is None:
            epoch = await client.custodians.epoch([type_])
        return [SubjectToken(type=type_, epoch=epoch, value=value) for value in found]
    with progress("tokenising") as report:
        tokens = await client.tokens(type_, values, epoch=epoch, on_progress=report)
    return [SubjectToken(type=type_, epoch=token.epoch, value=token.value) for token in tokens]


def _row(answer: Answer) -> tuple[object, ...]:
    risk = answer.risk
    if risk is None:
        return ("-", "nothing known", "-", "-", 0, "-", "-")
    known = _risk(risk)
    reasons = ", ".join(f"{reason['code']} ({reason['contribution']})" for reason in known["reasons"])
    person = "yes" if risk.human_review else "no"
    advice = known["advice"] + (" (disputed)" if risk.disputed else "")
    return (risk.score, known["band"], advice, person, risk.groups, risk.freshness_days, reasons)


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "token": answer.token.value.hex(),
        "epoch": answer.token.epoch,
        "risk": None if answer.risk is None else _risk(answer.risk),
        "access_record": answer.index,
        "access_salt": answer.access_salt.hex(),
        "model_version": answer.model_version,
    }


def _risk(risk: SubjectRisk) -> dict[str, Any]:
    return {
        "score": risk.score,
        "band": enum_name(RiskBand, risk.band, "RISK_BAND_"),
        "reasons": [
            {
                "code": reason.code,
                "contribution": enum_name(ContributionBucket, reason.contribution, "CONTRIBUTION_BUCKET_"),
            }
            for reason in risk.reasons
        ],
        "groups": risk.groups,
        "freshness_days": risk.freshness_days,
        "advice": enum_name(Action, risk.advice, "ACTION_"),
        "human_review": risk.human_review,
        "notice_code": risk.notice_code,
        "handling": enum_name(Tlp, risk.handling, "TLP_"),
        "disputed": risk.disputed,
    }


def _event(event: WatchEvent) -> dict[str, Any]:
    own = [event.note.reference] if event.note is not None else []
    return {
        "change": enum_name(SignalChange, event.change, "SIGNAL_CHANGE_"),
        "own": event.own,
        "signal_id": event.signal_id.hex(),
        "subject": event.subject.value.hex() if event.subject is not None else None,
        "code": event.note.code if event.note is not None else None,
        "references": own + list(event.references),
        "correction": event.correction,
    }


def _date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
