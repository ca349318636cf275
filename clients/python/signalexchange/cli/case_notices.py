"""The notice that goes with a case: which one it is, its values, and how it reaches the customer.

Invariants: the text printed, or written as a page, is rendered from the values given here alone; the digest
that the step carries is that of the plain text, whatever else was printed.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from signalexchange.cases import parse_step, step_name
from signalexchange.cli.common import note
from signalexchange.client import ExchangeClient
from signalexchange.errors import ConfigError, MalformedError
from signalexchange.notices.catalogue import packaged_catalogue
from signalexchange.notices.law import LanguageName
from signalexchange.notices.rendering import Rendered, Value, render
from signalexchange.v1.case_service_pb2 import EXPLANATION_OVERDUE, LANGUAGE_EN, Case
from signalexchange.v1.outcome_service_pb2 import Verdict


def code_of(case: Case) -> str:
    """Code of the notice for where a case stands, by its last step that is told to the customer.

    Raises ConfigError where there is nothing to tell.
    """
    for step in reversed(case.steps):
        statement = parse_step(step.statement)
        match statement.WhichOneof("step"):
            case "action" if case.state.explanation == EXPLANATION_OVERDUE:
                return "step-explanation-overdue"
            case "action":
                return f"advice-{step_name(statement)}"
            case "receive_explanation":
                return "step-explanation-received"
            case "judge_explanation":
                how = "satisfactory" if statement.judge_explanation.satisfactory else "unsatisfactory"
                return f"step-explanation-{how}"
            case "receive_appeal":
                return "step-appeal-received"
            case "decide_appeal":
                return f"step-appeal-{'granted' if statement.decide_appeal.granted else 'rejected'}"
            case "lift":
                return "advice-lift"
            case "close":
                return f"step-closed-{Verdict.Name(statement.close.outcome).removeprefix('VERDICT_').lower()}"
    raise ConfigError("nothing was done yet that the customer is told of")


def rendered(
    client: ExchangeClient,
    code: str,
    language: str,
    case: Case,
    values: Mapping[str, Value],
    page: Path | None,
    *,
    reason: str | None = None,
    explain_by: int = 0,
) -> Rendered:
    """The notice, printed to standard error or written as a page to be printed.

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
        if page is None:
            note(plain.text)
        else:
            page.write_text(render(code, language, given, reason=reason, form="html").text, "utf-8")
    except MalformedError as error:
        wants = ", ".join(sorted(wanted - given.keys())) or "other values"
        raise ConfigError(f"the customer's notice: {error}; give {wants} with --value NAME=VALUE") from None
    return plain


def kept(client: ExchangeClient, case: Case) -> Rendered | None:
    """The notice of the last step as it was given, where that was an action taken at this machine."""
    action = parse_step(case.steps[-1].statement).action if case.steps else None
    if action is None or not action.notice.code:
        return None
    for record in client.cases.records(case.case_id):
        if record.what == "notice" and sha256(record.content).digest() == action.notice.digest:
            language: LanguageName = "en" if action.notice.language == LANGUAGE_EN else "zh-CN"
            return Rendered(action.notice.code, language, record.content.decode(), action.notice.digest)
    return None
