"""Cases as officers read them: documents for scripts, tables for people."""

import datetime
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from signalexchange.case_reader import officer_of
from signalexchange.cases import parse_step, step_name
from signalexchange.cli.common import enum_name, print_table
from signalexchange.client import ExchangeClient
from signalexchange.identifiers import TYPE_NAMES
from signalexchange.roster import Roster
from signalexchange.v1.case_service_pb2 import (
    Appeal,
    Case,
    CaseEvidence,
    CaseOrigin,
    CaseStatement,
    CaseStep,
    Explanation,
    Language,
)
from signalexchange.v1.outcome_service_pb2 import Verdict
from signalexchange.v1.signal_service_pb2 import Action

COLUMNS = ("case", "opened", "measure", "explanation", "due", "appeal", "outcome", "groups", "references")
STEP_COLUMNS = ("#", "when", "officer", "step", "reason", "evidence", "more")
_COMMANDS = {
    "decide-proposal": "approve or refuse",
    "receive-explanation": "explanation received",
    "judge-explanation": "explanation satisfactory or unsatisfactory",
    "receive-appeal": "appeal received",
    "decide-appeal": "appeal grant or reject",
    "acknowledge-notice": "notice --acknowledged",
}
"""The commands of steps that aren't named after them."""
SHOWN = 400
"""Characters of a record that the table shows."""


def row(client: ExchangeClient, case: Case) -> tuple[object, ...]:
    """A case in a list."""
    state = case.state
    return (
        case.case_id.hex(),
        day(case.steps[0].time) if case.steps else "-",
        _proposed(case) or _name(Action, state.measure, "ACTION_"),
        _name(Explanation, state.explanation, "EXPLANATION_"),
        moment(state.explain_by or state.decide_by),
        _name(Appeal, state.appeal, "APPEAL_"),
        _name(Verdict, state.outcome, "VERDICT_"),
        case.groups,
        ", ".join(client.cases.references(case)) or "-",
    )


def document(client: ExchangeClient, roster: Roster, case: Case) -> dict[str, Any]:
    """All of a case, with the member's own references and what its officers wrote down."""
    state = case.state
    return {
        "case_id": case.case_id.hex(),
        "subject": case.subject.value.hex(),
        "type": TYPE_NAMES.get(case.subject.type, str(case.subject.type)),
        "epoch": case.subject.epoch,
        "origin": enum_name(CaseOrigin, case.origin, "CASE_ORIGIN_"),
        "match_id": case.match_id.hex() or None,
        "references": client.cases.references(case),
        "measure": enum_name(Action, state.measure, "ACTION_"),
        "proposed": enum_name(Action, state.proposed, "ACTION_") if state.proposed else None,
        "explanation": enum_name(Explanation, state.explanation, "EXPLANATION_")
        if state.explanation
        else None,
        "explain_by": state.explain_by or None,
        "appeal": enum_name(Appeal, state.appeal, "APPEAL_") if state.appeal else None,
        "decide_by": state.decide_by or None,
        "outcome": enum_name(Verdict, state.outcome, "VERDICT_") if state.outcome else None,
        "closed_at": state.closed_at or None,
        "expires_at": state.expires_at or None,
        "groups": case.groups,
        "disputed": case.disputed,
        "next": list(state.next),
        "steps": [_step(roster, number, step) for number, step in enumerate(case.steps)],
        "records": [
            {
                "what": record.what,
                "commitment": record.commitment.hex(),
                "text": record.content.decode(errors="replace"),
            }
            for record in client.cases.records(case.case_id)
        ],
    }


def show(found: dict[str, Any]) -> None:
    """Print a case's document as tables: where it stands, its steps, what was written down."""
    for name in ("explain_by", "decide_by", "closed_at", "expires_at"):
        found[name] = moment(found[name] or 0)
    simple = {name: value for name, value in found.items() if not isinstance(value, list)}
    rows = [(name.replace("_", " "), "-" if value is None else value) for name, value in simple.items()]
    rows.append(("references", ", ".join(found["references"]) or "-"))
    rows.append(("may come next", next_commands(found["next"])))
    print_table(("field", "value"), rows)
    print_table(
        STEP_COLUMNS,
        [
            (
                step["number"],
                moment(step["time"]),
                step["officer"],
                step["step"],
                step["reason"],
                ", ".join(step["evidence"]) or "-",
                step["more"] or "-",
            )
            for step in found["steps"]
        ],
    )
    if found["records"]:
        print_table(
            ("kept here", "commitment", "text"),
            [
                (each["what"], each["commitment"][:16], " ".join(each["text"].split())[:SHOWN])
                for each in found["records"]
            ],
        )


def next_commands(steps: Sequence[str]) -> str:
    """Steps that may come next, as the commands of `signalexchange cases` that take them."""
    return ", ".join(_COMMANDS.get(step, step) for step in steps) or "nothing"


def moment(seconds: int) -> str:
    """A time in UTC, or "-" for none."""
    if not seconds:
        return "-"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%MZ")


def day(seconds: int) -> str:
    """The day of a time in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def _step(roster: Roster, number: int, step: CaseStep) -> dict[str, Any]:
    statement = parse_step(step.statement)
    return {
        "number": number,
        "time": step.time,
        "officer": officer_of(statement, roster, step.time),
        "key_id": statement.key_id,
        "step": step_name(statement),
        "reason": statement.reason,
        "evidence": [_evidence(each) for each in statement.evidence],
        "more": "; ".join(_more(statement)),
        "digest": sha256(step.statement).hexdigest(),
        "index": step.index,
    }


def _evidence(evidence: CaseEvidence) -> str:
    what = evidence.WhichOneof("what")
    if what == "look_up":
        return f"look-up:{evidence.look_up}"
    value: bytes = getattr(evidence, what or "record")
    return f"{(what or '').removesuffix('_id')}:{value.hex()}"


def _more(statement: CaseStatement) -> Sequence[str]:
    """What a step says besides who, when and why."""
    match statement.WhichOneof("step"):
        case "open":
            return [f"by {enum_name(CaseOrigin, statement.open.origin, 'CASE_ORIGIN_')}"]
        case "action":
            until = [f"until {moment(statement.action.explain_by)}"] if statement.action.explain_by else []
            notice = statement.action.notice
            return [*until, f"notice {notice.code} ({_language(notice.language)})"]
        case "decide_proposal":
            return ["approved" if statement.decide_proposal.approved else "refused"]
        case "judge_explanation":
            return ["satisfactory" if statement.judge_explanation.satisfactory else "unsatisfactory"]
        case "receive_appeal":
            named = len(statement.receive_appeal.signal_ids)
            return [f"disputes {named} signals by name"] if named else []
        case "decide_appeal":
            return ["granted" if statement.decide_appeal.granted else "rejected"]
        case "close":
            return [enum_name(Verdict, statement.close.outcome, "VERDICT_")]
        case "acknowledge_notice":
            notice = statement.acknowledge_notice.notice
            return [f"notice {notice.code} ({_language(notice.language)})"]
    return []


def _language(language: Language.ValueType) -> str:
    return {"zh_cn": "zh-CN"}.get(name := enum_name(Language, language, "LANGUAGE_"), name)


def _proposed(case: Case) -> str:
    if not case.state.proposed:
        return ""
    in_force = enum_name(Action, case.state.measure, "ACTION_")
    return f"{in_force} ({enum_name(Action, case.state.proposed, 'ACTION_')} proposed)"


def _name(enum: Any, value: int, prefix: str) -> str:
    return enum_name(enum, value, prefix).replace("_", "-") if value else "-"
