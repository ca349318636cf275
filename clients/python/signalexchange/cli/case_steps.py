"""Commands with which officers take the steps of a case."""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from signalexchange.cases import parse_step
from signalexchange.cli import case_notices
from signalexchange.cli.case_tables import moment, next_commands
from signalexchange.cli.common import (
    TYPES,
    enum_name,
    given_text,
    hex_bytes,
    json_option,
    note,
    print_json,
    with_client,
)
from signalexchange.cli.notices import html_option, language_option, placeholder_values, value_option
from signalexchange.cli.outcomes import VERDICTS
from signalexchange.client import ExchangeClient
from signalexchange.credentials import read_file
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.officers import Grounds, StepTaken
from signalexchange.signals import DAY
from signalexchange.tokens import TOKEN_SIZE
from signalexchange.v1.case_service_pb2 import CaseEvidence
from signalexchange.v1.identifier_pb2 import IdentifierType, SubjectToken
from signalexchange.v1.match_service_pb2 import MatchPart
from signalexchange.v1.signal_service_pb2 import ACTION_INTERCEPT, Action

MAX_RECORD: Final = 8 * 1024 * 1024
"""Bytes of a file that the journal keeps."""
SLACK: Final = 300
"""Seconds by which a deadline is later than the days say, as the hub's clock may be ahead."""
ACTIONS: Final = {
    name: Action.Value(f"ACTION_{name.upper()}")
    for name in ("authenticate", "explain", "intercept", "restrict", "freeze")
}
case_argument = click.argument("case_id", metavar="CASE")
officer_option = click.option(
    "--officer", default="", help="Id of the officer's key that signs; needed where there are several."
)


def step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every step; the command gets them as `grounds`."""

    @wraps(command)
    def run(*args: Any, officer: str, reason: str, evidence: Sequence[str], **kwargs: Any) -> Any:
        return command(*args, grounds=_grounds(officer, reason, evidence), **kwargs)

    options = (
        officer_option,
        click.option(
            "--reason",
            default="",
            help="Code or pattern of the rulebook (see notices list); that of the step before if left out.",
        ),
        click.option(
            "--evidence",
            multiple=True,
            metavar="WHAT",
            help="signal:ID, match:ID, look-up:INDEX, record:FILE or note:TEXT; repeat. Records and notes "
            "stay in the journal; the step commits to them.",
        ),
        json_option,
    )
    for option in reversed(options):
        run = option(run)
    return run


def _grounds(officer: str, reason: str, given: Sequence[str]) -> Grounds:
    evidence: list[CaseEvidence] = []
    records: list[bytes] = []
    for text in given:
        what, _, value = text.partition(":")
        match what:
            case "signal":
                evidence.append(CaseEvidence(signal_id=hex_bytes(value, ID_SIZE, "a signal id")))
            case "match":
                evidence.append(CaseEvidence(match_id=hex_bytes(value, ID_SIZE, "a match id")))
            case "look-up" if value.isdecimal() and len(value) < 16:
                evidence.append(CaseEvidence(look_up=int(value)))
            case "record":
                records.append(_file(Path(value)))
            case "note" if value:
                records.append(value.encode())
            case _:
                raise click.UsageError(
                    f"--evidence {text!r}: give signal:ID, match:ID, look-up:INDEX, record:FILE or note:TEXT"
                )
    return Grounds(officer, reason, tuple(evidence), tuple(records))


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
    _done(await client.cases.open(token, grounds, match_id=wanted, look_up=look_up or 0), as_json)


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
        case = await client.cases.get(_case(case_id))
        notice = case_notices.rendered(
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
        # Not before the hub has taken the step: a letter must not tell of what was refused.
        case_notices.give(notice, page)
        if not as_json and taken.case.state.proposed == action:
            note(f"proposed: another officer approves it with signalexchange cases approve {case_id} {name}")
            note("the customer gets the notice only then: signalexchange cases notice prints it again")
        _done(taken, as_json)

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
        _done(await client.cases.decide(_case(case_id), ACTIONS[action], approved, grounds), as_json)

    return click.command(name, help=summary)(decide)


approve = _decision("approve", "Approve the ACTION that another officer proposed.", True)
refuse = _decision("refuse", "Refuse the ACTION that another officer proposed.", False)

_text = click.option("--text", help="What the customer said; it stays in the journal.")
_file_option = click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="What the customer handed in."
)


@click.group()
def explanation() -> None:
    """Note that the customer explained, and say whether that will do."""


@explanation.command("received")
@case_argument
@_text
@_file_option
@step_options
@with_client
async def explanation_received(
    client: ExchangeClient, case_id: str, text: str | None, file: Path | None, grounds: Grounds, as_json: bool
) -> None:
    """Note that the customer explained, also after the deadline as long as nothing followed from that."""
    _done(await client.cases.receive_explanation(_case(case_id), _written(text, file), grounds), as_json)


def _judgement(name: str, summary: str, satisfactory: bool) -> click.Command:
    @case_argument
    @step_options
    @with_client
    async def judge(client: ExchangeClient, case_id: str, grounds: Grounds, as_json: bool) -> None:
        _done(await client.cases.judge_explanation(_case(case_id), satisfactory, grounds), as_json)

    return click.command(name, help=summary)(judge)


explanation.add_command(_judgement("satisfactory", "The explanation will do: nothing goes up on it.", True))
explanation.add_command(
    _judgement("unsatisfactory", "The explanation will not do; it carries one step up.", False)
)


@click.group()
def appeal() -> None:
    """Note that the customer objects, and decide on it."""


@appeal.command("received")
@case_argument
@click.option("--signal", "signals", multiple=True, metavar="SIGNAL_ID", help="A signal objected to; repeat.")
@_text
@_file_option
@step_options
@with_client
async def appeal_received(
    client: ExchangeClient,
    case_id: str,
    signals: Sequence[str],
    text: str | None,
    file: Path | None,
    grounds: Grounds,
    as_json: bool,
) -> None:
    """Note an appeal. While it is undecided, no advice above a further authentication rests on what it
    disputes, at any member, and nothing goes up in this case."""
    ids = [hex_bytes(each, ID_SIZE, "a signal id") for each in signals]
    written = _written(text, file)
    _done(await client.cases.receive_appeal(_case(case_id), written, grounds, signal_ids=ids), as_json)


def _appeal_decision(name: str, summary: str, granted: bool) -> click.Command:
    @case_argument
    @step_options
    @with_client
    async def decide(client: ExchangeClient, case_id: str, grounds: Grounds, as_json: bool) -> None:
        _done(await client.cases.decide_appeal(_case(case_id), granted, grounds), as_json)

    return click.command(name, help=summary)(decide)


appeal.add_command(
    _appeal_decision(
        "grant", "The customer is right: lifts the measure, refutes own signals on the subject.", True
    )
)
appeal.add_command(_appeal_decision("reject", "The customer is wrong; what stood stands.", False))


@click.command()
@case_argument
@step_options
@with_client
async def lift(client: ExchangeClient, case_id: str, grounds: Grounds, as_json: bool) -> None:
    """Lift the measure, or drop a proposal. Always possible; a sanction's signal is withdrawn."""
    _done(await client.cases.lift(_case(case_id), grounds), as_json)


@click.command()
@case_argument
@click.option("--outcome", type=click.Choice(list(VERDICTS)), required=True, help="What came of it.")
@step_options
@with_client
async def close(client: ExchangeClient, case_id: str, outcome: str, grounds: Grounds, as_json: bool) -> None:
    """Close the proceeding. Match and own signals on the subject get the same verdict; a measure that stands,
    confirmed, is published as a signal, which freezes nothing elsewhere."""
    _done(await client.cases.close(_case(case_id), VERDICTS[outcome], grounds), as_json)


STEP_COMMANDS = (open_, *ACTION_COMMANDS, approve, refuse, explanation, appeal, lift, close)


async def _open_about(client: ExchangeClient, token: SubjectToken) -> list[str]:
    """Ids of the open cases about a subject: those opened by hand are as many as were opened."""
    return [
        case.case_id.hex()
        async for case in client.cases.all(unfinished=True)
        if case.subject.value == token.value and not case.state.closed_at
    ]


def _done(taken: StepTaken, as_json: bool) -> None:
    case = taken.case
    if as_json:
        print_json(
            {
                "case_id": case.case_id.hex(),
                "index": taken.index,
                "repeated": taken.repeated,
                "measure": enum_name(Action, case.state.measure, "ACTION_"),
                "next": list(case.state.next),
                "followed": [
                    {"kind": each.kind.name.lower(), "index": each.index} for each in taken.followed
                ],
            }
        )
        return
    click.echo(f"case {case.case_id.hex()}: step {len(case.steps) - 1} is log entry {taken.index}")
    for each in taken.followed:
        what = "sanction published" if each.kind.name == "BATCH" else "own signals withdrawn"
        click.echo(f"{what}; log entry {each.index}")
    if case.state.explain_by or case.state.decide_by:
        note(f"due {moment(case.state.explain_by or case.state.decide_by)}")
    note(f"may come next: {next_commands(case.state.next)}")


def _case(text: str) -> bytes:
    return hex_bytes(text, ID_SIZE, "a case id")


def _file(path: Path) -> bytes:
    content = read_file(path, "record")
    if len(content) > MAX_RECORD:
        raise ConfigError(f"{path}: longer than {MAX_RECORD >> 20} MiB; give its SHA-256 as a note instead")
    return content


def _written(text: str | None, file: Path | None) -> bytes:
    if (text is None) == (file is None):
        raise click.UsageError("give either --text or --file")
    return _file(file) if file is not None else (text or "").encode()


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
