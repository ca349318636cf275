"""The notice that goes with a case: which one it is, its values, and how it reaches the customer.

Invariants: a customer is told of nothing that was refused, or that waits for a second officer; the text
printed, or written as a page, is rendered from the values given here alone; the digest
that the step carries is that of the plain text, whatever else was printed.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from signalexchange.cases import parse_step, step_name
from signalexchange.cli.common import note
from signalexchange.client import ExchangeClient
from signalexchange.errors import ConfigError, MalformedError
from signalexchange.notices.catalogue import packaged_catalogue
from signalexchange.notices.law import LanguageName
from signalexchange.notices.rendering import Rendered, Value, render
from signalexchange.v1.case_service_pb2 import EXPLANATION_OVERDUE, LANGUAGE_EN, Case, CaseStatement
from signalexchange.v1.outcome_service_pb2 import Verdict


class Notice(NamedTuple):
    """A notice as text, which the step's digest is of, and as a page."""

    plain: Rendered
    page: str


def code_of(case: Case) -> str:
    """Code of the notice for where a case stands, by its last step that is told to the customer.

    Raises ConfigError where there is nothing to tell.
    """
    statement = _last_told(case)
    if statement is None:
        raise ConfigError("nothing was done yet that the customer is told of")
    match statement.WhichOneof("step"):
        case "action" if case.state.explanation == EXPLANATION_OVERDUE:
            return "step-explanation-overdue"
        case "receive_explanation":
            return "step-explanation-received"
        case "judge_explanation":
            how = "satisfactory" if statement.judge_explanation.satisfactory else "unsatisfactory"
            return f"step-explanation-{how}"
        case "receive_appeal":
            return "step-appeal-received"
        case "decide_appeal":
            return f"step-appeal-{'granted' if statement.decide_appeal.granted else 'rejected'}"
        case "close":
            return f"step-closed-{Verdict.Name(statement.close.outcome).removeprefix('VERDICT_').lower()}"
    return f"advice-{step_name(statement)}"


def _last_told(case: Case) -> CaseStatement | None:
    """The last step that the customer is told of: no action that awaits a second officer or was refused."""
    proposed: int = case.state.proposed
    refused: set[bytes] = set()
    for step in reversed(case.steps):
        statement = parse_step(step.statement)
        match statement.WhichOneof("step"):
            case "open" | "acknowledge_notice":
                continue
            case "decide_proposal":
                if not statement.decide_proposal.approved:
                    refused.add(statement.decide_proposal.proposal)
            case "action" if proposed and statement.action.action == proposed:
                proposed = 0
            case "action" if sha256(step.statement).digest() in refused:
                continue
            case _:
                return statement
    return None


def rendered(
    client: ExchangeClient,
    code: str,
    language: str,
    case: Case,
    values: Mapping[str, Value],
    *,
    reason: str | None = None,
    explain_by: int = 0,
) -> Notice:
    """The notice, not given to anybody yet (`give`).

    What the case tells need not be given: institution, reference and deadline. Raises ConfigError naming what
    is missing.
    """
    known = packaged_catalogue()
    wanted = known.wants(known.get(code))
    names = client.cases.references(case)
    given: dict[str, Value] = {
        "institution": client.member,
        "reference": names[0] if names else case.case_id.hex()[:8],
    }
    if deadline := explain_by or case.state.explain_by or case.state.decide_by:
        given["deadline"] = deadline
    given = {name: value for name, value in given.items() if name in wanted} | dict(values)
    try:
        return Notice(
            render(code, language, given, reason=reason),
            render(code, language, given, reason=reason, form="html").text,
        )
    except MalformedError as error:
        wants = ", ".join(sorted(wanted - given.keys())) or "other values"
        raise ConfigError(f"the customer's notice: {error}; give {wants} with --value NAME=VALUE") from None


def give(notice: Notice, page: Path | None) -> None:
    """Print the notice to standard error, or write it as a page to be printed."""
    if page is None:
        note(notice.plain.text)
    else:
        page.write_text(notice.page, "utf-8")


def kept(client: ExchangeClient, case: Case) -> Rendered | None:
    """The notice of the last step as it was given, where that was an action taken at this machine."""
    told = _last_told(case)
    if told is None or told.WhichOneof("step") != "action":
        return None
    action = told.action
    for record in client.cases.records(case.case_id):
        if record.what == "notice" and sha256(record.content).digest() == action.notice.digest:
            language: LanguageName = "en" if action.notice.language == LANGUAGE_EN else "zh-CN"
            return Rendered(action.notice.code, language, record.content.decode(), action.notice.digest)
    return None
