"""What members sign about what became of signals and matches.

Invariants: a statement is signed under a label of its own, over the bytes carried; it names the log's origin;
each signal and each match stands in it once; `sign_outcomes` orders them, so that the same outcomes are the
same bytes.
"""

from collections.abc import Callable, Iterable

from signalexchange.envelope import (
    ID_SIZE,
    MAX_SIGNALS,
    check_names,
    check_size,
    parse_exactly,
    verify_signature,
)
from signalexchange.errors import MalformedError
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
    Outcome,
    OutcomeStatement,
    ReportOutcomesRequest,
)

MAX_OUTCOMES = MAX_SIGNALS
VERDICTS = frozenset({VERDICT_CONFIRMED, VERDICT_REFUTED, VERDICT_INCONCLUSIVE})

_LABEL = b"signalexchange/outcomes/v1\0"


def sign_outcomes(
    outcomes: Iterable[Outcome],
    *,
    origin: str,
    member: str,
    key_id: str,
    report_id: bytes,
    sign: Callable[[bytes], bytes],
) -> ReportOutcomesRequest:
    """Sign a report of 1 to 1,000 outcomes, each about another signal or match, given in any order.

    `report_id` has 16 bytes; `sign` makes an Ed25519 signature. Raises MalformedError.
    """
    statement = OutcomeStatement(
        origin=origin,
        member=member,
        key_id=key_id,
        report_id=report_id,
        outcomes=sorted(outcomes, key=about),
    )
    _check(statement)
    encoded = statement.SerializeToString(deterministic=True)
    return ReportOutcomesRequest(statement=encoded, signature=sign(_LABEL + encoded))


def parse_outcomes(statement: bytes) -> OutcomeStatement:
    """Parse a report's statement strictly, its signature not checked; raises MalformedError."""
    parsed = parse_exactly(OutcomeStatement, statement)
    _check(parsed)
    return parsed


def open_outcomes(statement: bytes, signature: bytes, public_key: bytes) -> OutcomeStatement:
    """Parse a report's statement and verify the member's signature over it.

    Raises MalformedError or VerificationError.
    """
    parsed = parse_outcomes(statement)
    verify_signature(public_key, signature, _LABEL + statement, "signature of the report")
    return parsed


def about(outcome: Outcome) -> tuple[bool, bytes]:
    """What an outcome is about: whether a match, and the id. Signals come before matches."""
    is_match = outcome.WhichOneof("about") == "match_id"
    return is_match, outcome.match_id if is_match else outcome.signal_id


def _check(statement: OutcomeStatement) -> None:
    check_names(statement)
    check_size("report_id", statement.report_id, ID_SIZE)
    if not 1 <= len(statement.outcomes) <= MAX_OUTCOMES:
        raise MalformedError(f"outcomes are not 1 to {MAX_OUTCOMES}")
    seen: set[tuple[bool, bytes]] = set()
    for at, outcome in enumerate(statement.outcomes):
        field = outcome.WhichOneof("about")
        if field is None:
            raise MalformedError(f"outcomes[{at}] is about nothing")
        what = about(outcome)
        check_size(f"outcomes[{at}].{field}", what[1], ID_SIZE)
        if what in seen:
            raise MalformedError(f"outcomes[{at}].{field} stands twice in the report")
        if outcome.verdict not in VERDICTS:
            raise MalformedError(f"outcomes[{at}].verdict is not known")
        seen.add(what)
