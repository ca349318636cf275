"""Commands with which officers take the steps of a case: opened, acted on, lifted, closed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from signalexchange.cases import parse_step
from signalexchange.cli import case_notices
from signalexchange.cli.case_answers import appeal, explanation
from signalexchange.cli.case_options import case_argument, done, parsed_id, step_options
from signalexchange.cli.common import (
    TYPES,
    enum_name,
    given_text,
    hex_bytes,
    note,
    with_client,
)
from signalexchange.cli.notices import html_option, language_option, placeholder_values, value_option
from signalexchange.cli.outcomes import VERDICTS
from signalexchange.client import ExchangeClient
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.officers import Grounds
from signalexchange.signals import DAY
from signalexchange.tokens import TOKEN_SIZE
from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.match_service_pb2 import MatchPart
from signalexchange.v1.signal_service_pb2 import ACTION_INTERCEPT, Action

SLACK: Final = 300
"""Seconds by which a deadline is later than the days say, as the hub's clock may be ahead."""
ACTIONS: Final = {
    name: Action.Value(f"ACTION_{name.upper()}")
    for name in ("authenticate", "explain", "intercept", "restrict", "freeze")
}


@click.command("open")
@click.option("--match", "match_id", metavar="MATCH_ID", help="A match that concerns you.")
@click.option(
    "--look-up", type=click.IntRange(min=1), help="Log entry of a look-up in which the subject hit."
)
@click.option(
    "--subject", help="A token, or a reference of your own; of a match it may be left out where it has one."
)
@click.option(
    "--type", "type_name", type=click.Choice(sorted(TYPES)), help="Type of --subject or of --identifier."
)
@click.option(
    "--identifier", help="The identifier itself, which is tokenised; - reads it from standard input."
)
@click.option("--reference", help="Your own reference for the subject; the journal keeps it.")
@step_options
@with_client
async def open_(
    client: ExchangeClient,
    match_id: str | None,
    look_up: int | None,
    subject: str | None,
    type_name: str | None,
    identifier: str | None,
    reference: str | None,
    grounds: Grounds,
    as_json: bool,
) -> None:
    """Open a case about one subject: of a match, of the advice in a look-up, or of your own knowledge."""
    wanted = hex_bytes(match_id, ID_SIZE, "a match id") if match_id else b""
    if identifier is not None:
        token = await _tokenised(client, type_name, identifier)
    elif wanted:
        token = await _of_match(client, wanted, subject)
    else:
        token = await _given(client, type_name, subject)
    if not wanted and (before := await _open_about(client, token)):
        note(
            f"a case about this subject is open already: {', '.join(before)}; close one if both are the same"
        )
    if reference:
        client.journal.remember({token.value: [reference]})
    done(await client.cases.open(token, grounds, match_id=wanted, look_up=look_up or 0), as_json)


def _action(name: str, summary: str) -> click.Command:
    """The command that takes one action."""

    @with_client
    async def act(
        client: ExchangeClient,
        case_id: str,
        language: str,
        values: Sequence[str],
        page: Path | None,
        grounds: Grounds,
        as_json: bool,
        days: int | None = None,
    ) -> None:
        action, explain_by = ACTIONS[name], 0
        if action >= ACTION_INTERCEPT and not (grounds.evidence or grounds.records):
            raise click.UsageError(f"{name} rests on evidence: give --evidence")
        if page is not None and not os.access(page.parent, os.W_OK):
            raise ConfigError(f"{page}: can't be written; no step was taken")
        if name == "explain":
            rules = (await client.roster.rulebook()).cases
            days = days or rules.explanation_days
            if not rules.explanation_days <= days <= rules.explanation_days_most:
                raise click.UsageError(
                    f"--days {days}: the rulebook grants {rules.explanation_days} to "
                    f"{rules.explanation_days_most} days"
                )
            explain_by = client.now() + days * DAY + (SLACK if days < rules.explanation_days_most else 0)
        case = await client.cases.get(parsed_id(case_id))
        notice = case_notices.letter(
            client,
            f"advice-{name}",
            language,
            case,
            placeholder_values(values),
            reason=grounds.reason or parse_step(case.steps[-1].statement).reason,
            explain_by=explain_by,
        )
        taken = await client.cases.act(
            case.case_id, action, grounds, notice=notice.plain, explain_by=explain_by
        )
        if taken.case.state.proposed == action:
            note(f"proposed: another officer approves it with signalexchange cases approve {case_id} {name}")
            note(f"then the customer gets his notice: signalexchange cases notice {case_id}")
        else:
            case_notices.give(notice, page)
        done(taken, as_json)

    command = case_argument(language_option(value_option(html_option(step_options(act)))))
    if name == "explain":
        days = click.option(
            "--days",
            type=click.IntRange(min=1),
            help="Days that the customer gets; the rulebook's least if left out.",
        )
        command = days(command)
    return click.command(name, help=summary)(command)


ACTION_COMMANDS = tuple(
    _action(name, summary)
    for name, summary in {
        "authenticate": "Have the customer authenticate once more.",
        "explain": "Ask the customer for an explanation, with a deadline.",
        "intercept": "Hold the transaction back; it needs evidence.",
        "restrict": "Restrict the customer's functions, after an explanation that failed; it needs evidence.",
        "freeze": "Propose to freeze, after a further explanation that failed; another officer approves it.",
    }.items()
)


def _decision(name: str, summary: str, approved: bool) -> click.Command:
    @case_argument
    @click.argument("action", type=click.Choice(["intercept", "restrict", "freeze"]))
    @step_options
    @with_client
    async def decide(
        client: ExchangeClient, case_id: str, action: str, grounds: Grounds, as_json: bool
    ) -> None:
        done(await client.cases.decide(parsed_id(case_id), ACTIONS[action], approved, grounds), as_json)

    return click.command(name, help=summary)(decide)


approve = _decision("approve", "Approve the ACTION that another officer proposed.", True)
refuse = _decision("refuse", "Refuse the ACTION that another officer proposed.", False)


@click.command()
@case_argument
@step_options
@with_client
async def lift(client: ExchangeClient, case_id: str, grounds: Grounds, as_json: bool) -> None:
    """Lift the measure, or drop a proposal. Always possible; a sanction's signal is withdrawn."""
    done(await client.cases.lift(parsed_id(case_id), grounds), as_json)


@click.command()
@case_argument
@click.option("--outcome", type=click.Choice(list(VERDICTS)), required=True, help="What came of it.")
@step_options
@with_client
async def close(client: ExchangeClient, case_id: str, outcome: str, grounds: Grounds, as_json: bool) -> None:
    """Close the proceeding. Match and own signals on the subject get the same verdict; a measure that stands,
    confirmed, is published as a signal, which freezes nothing elsewhere."""
    done(await client.cases.close(parsed_id(case_id), VERDICTS[outcome], grounds), as_json)


STEP_COMMANDS = (open_, *ACTION_COMMANDS, approve, refuse, explanation, appeal, lift, close)


async def _open_about(client: ExchangeClient, token: SubjectToken) -> list[str]:
    """Ids of the open cases about a subject: those opened by hand are as many as were opened."""
    return [
        case.case_id.hex()
        async for case in client.cases.all(unfinished=True)
        if case.subject.value == token.value and not case.state.closed_at
    ]


async def _tokenised(client: ExchangeClient, type_name: str | None, identifier: str) -> SubjectToken:
    if type_name is None:
        raise click.UsageError("--identifier needs --type")
    value = given_text(identifier)
    (token,) = await client.tokens(TYPES[type_name], [value])
    return SubjectToken(type=IdentifierType.ValueType(token.type), epoch=token.epoch, value=token.value)


async def _of_match(client: ExchangeClient, match_id: bytes, subject: str | None) -> SubjectToken:
    """The match's subject of that token or reference, or its only one."""
    match = await client.matches.get(match_id)
    found = [
        each.token
        for each in match.subjects
        if subject is None
        or each.token.value.hex() == subject.lower()
        or subject in client.journal.references(each.token.value)
    ]
    if len(found) != 1:
        raise click.UsageError(
            f"{len(found)} of your subjects in the match fit; give one's token with --subject: "
            + ", ".join(
                f"{each.token.value.hex()} "
                f"({TYPE_NAMES.get(each.token.type, '?')}, "
                f"{enum_name(MatchPart, each.part, 'MATCH_PART_').replace('_', '-')})"
                for each in match.subjects
            )
        )
    return found[0]


async def _given(client: ExchangeClient, type_name: str | None, subject: str | None) -> SubjectToken:
    """A subject given by its token, or by a reference that leads to one token."""
    if subject is None or type_name is None:
        raise click.UsageError("give --match, or --type with --identifier or --subject")
    type_ = IdentifierType.ValueType(TYPES[type_name])
    known = client.journal.tokens(subject)
    if len(known) > 1:
        raise click.UsageError(
            f"{len(known)} tokens stand under {subject!r}: signalexchange journal find shows them"
        )
    value = known[0] if known else hex_bytes(subject, TOKEN_SIZE, "a subject that is no reference")
    return SubjectToken(type=type_, epoch=await client.custodians.epoch([type_]), value=value)
