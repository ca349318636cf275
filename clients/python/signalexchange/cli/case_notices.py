"""The notice that goes with a case: which one it is, its values, and how it reaches the customer.

Invariants: a notice is given once the step that it goes with is on the log, and of a proposal only once that
was approved; the digest that the step carries is that of the plain text, whatever else was printed.
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


class Letter(NamedTuple):
    """A notice as it is committed to, and as a page to be printed."""

    plain: Rendered
    page: str


def told(case: Case) -> CaseStatement | None:
    """The last step that the customer is told of, if there is one: no proposal that is undecided or was
    refused."""
    untold = {case.state.proposal}
    for step in reversed(case.steps):
        statement = parse_step(step.statement)
        what = statement.WhichOneof("step")
        if what == "decide_proposal" and not statement.decide_proposal.approved:
            untold.add(statement.decide_proposal.proposal)
        if what in ("decide_proposal", "acknowledge_notice", "open"):
            continue
        if what != "action" or sha256(step.statement).digest() not in untold:
            return statement
    return None


def code_of(case: Case) -> str | None:
    """Code of the notice for where a case stands; None where there is nothing to tell."""
    statement = told(case)
    if statement is None:
        return None
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


def letter(
    client: ExchangeClient,
    code: str,
    language: str,
    case: Case,
    values: Mapping[str, Value],
    *,
    reason: str | None = None,
    explain_by: int = 0,
) -> Letter:
    """The notice, rendered.

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
        plain = render(code, language, given, reason=reason)
        return Letter(plain, render(code, language, given, reason=reason, form="html").text)
    except MalformedError as error:
        wants = ", ".join(sorted(wanted - given.keys())) or "other values"
        raise ConfigError(f"the customer's notice: {error}; give {wants} with --value NAME=VALUE") from None


def give(notice: Letter, page: Path | None) -> None:
    """Print the notice to standard error, or write it as a page."""
    if page is None:
        note(notice.plain.text)
    else:
        page.write_text(notice.page, "utf-8")
        note(f"the customer's notice is in {page}")


def kept(client: ExchangeClient, case: Case) -> Rendered | None:
    """The notice of the action last told of, as it was given, where it was taken at this machine."""
    statement = told(case)
    if statement is None:
        return None
    shown = statement.action.notice
    for record in client.cases.records(case.case_id):
        if record.what == "notice" and sha256(record.content).digest() == shown.digest:
            language: LanguageName = "en" if shown.language == LANGUAGE_EN else "zh-CN"
            return Rendered(shown.code, language, record.content.decode(), shown.digest)
    return None
