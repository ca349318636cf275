"""Which party may call which method: one table for hub and custodian.

Invariants: what the table doesn't list is denied; every method served has exactly one rule. A rule also
names the rate-limit bucket a call is charged to and what it costs. Purposes and codes are the rulebook's
business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MEMBERS: Final = frozenset({"bank", "ecommerce", "payment_provider"})
"""Kinds of parties that share and ask."""
OPERATOR: Final = frozenset({"operator"})
LAW_ENFORCEMENT: Final = frozenset({"law_enforcement"})
DISCLOSING: Final = MEMBERS | LAW_ENFORCEMENT
"""Kinds of parties on either side of a disclosure."""
EVERYBODY: Final = MEMBERS | OPERATOR | {"auditor", "law_enforcement"}
"""Every kind of enrolled party."""


def _one(_request: Any) -> int:
    return 1


def _tokens(request: Any) -> int:
    return max(1, len(request.tokens))


def _signals(request: Any) -> int:
    return max(1, len(request.signals))


@dataclass(frozen=True, slots=True)
class Rule:
    """Kinds of parties that may call, the bucket charged and the cost of a request in it."""

    kinds: frozenset[str]
    bucket: str = "calls"
    cost: Callable[[Any], int] = _one


_SIGNAL: Final = "/signalexchange.v1.SignalService/"
_LOG: Final = "/signalexchange.v1.TransparencyService/"
_MATCH: Final = "/signalexchange.v1.MatchService/"
_MEMBERSHIP: Final = "/signalexchange.v1.MembershipService/"
_NOTICE: Final = "/signalexchange.v1.NoticeService/"
_OUTCOME: Final = "/signalexchange.v1.OutcomeService/"
_CASE: Final = "/signalexchange.v1.CaseService/"
_DISCLOSURE: Final = "/signalexchange.v1.DisclosureService/"
_TOKEN: Final = "/signalexchange.v1.TokenService/"  # noqa: S105 - a service's name

RULES: Final[Mapping[str, Rule]] = {
    _SIGNAL + "PublishSignals": Rule(MEMBERS, "signals", _signals),
    _SIGNAL + "WithdrawSignals": Rule(MEMBERS),
    _SIGNAL + "LookUpSubjects": Rule(MEMBERS, "look_ups", _tokens),
    _SIGNAL + "Subscribe": Rule(MEMBERS, "look_ups", _tokens),
    _SIGNAL + "Unsubscribe": Rule(MEMBERS),
    _SIGNAL + "WatchSignals": Rule(MEMBERS),
    _MATCH + "GetMatch": Rule(MEMBERS),
    _MATCH + "ListMatches": Rule(MEMBERS),
    _MATCH + "WatchMatches": Rule(MEMBERS),
    _MATCH + "ListSetAside": Rule(MEMBERS),
    _LOG + "GetCheckpoint": Rule(EVERYBODY),
    _LOG + "GetInclusionProof": Rule(EVERYBODY),
    _LOG + "GetConsistencyProof": Rule(EVERYBODY),
    _LOG + "ListLeaves": Rule(EVERYBODY),
    _LOG + "OpenEntries": Rule(EVERYBODY),
    _MEMBERSHIP + "GetRoster": Rule(EVERYBODY),
    _MEMBERSHIP + "ProposeRosterVersion": Rule(OPERATOR),
    _MEMBERSHIP + "SuspendMember": Rule(OPERATOR),
    _OUTCOME + "ReportOutcomes": Rule(MEMBERS),
    _OUTCOME + "GetReliability": Rule(MEMBERS),
    _CASE + "RecordStep": Rule(MEMBERS),
    _CASE + "GetCase": Rule(MEMBERS),
    _CASE + "ListCases": Rule(MEMBERS),
    _CASE + "WatchCases": Rule(MEMBERS),
    _CASE + "EraseCase": Rule(MEMBERS),
    _CASE + "AcknowledgeCorrections": Rule(MEMBERS),
    _NOTICE + "ListNotices": Rule(EVERYBODY),
    _NOTICE + "GetNotice": Rule(EVERYBODY),
    _NOTICE + "ListLegalFacts": Rule(EVERYBODY),
    _DISCLOSURE + "RequestDisclosure": Rule(LAW_ENFORCEMENT),
    _DISCLOSURE + "GetDisclosure": Rule(DISCLOSING),
    _DISCLOSURE + "ListDisclosures": Rule(DISCLOSING),
    _DISCLOSURE + "WatchDisclosures": Rule(DISCLOSING),
    _DISCLOSURE + "DecideDisclosure": Rule(MEMBERS),
    _DISCLOSURE + "FetchPackage": Rule(LAW_ENFORCEMENT),
    _DISCLOSURE + "AcknowledgePackage": Rule(LAW_ENFORCEMENT),
    _DISCLOSURE + "WithdrawDisclosure": Rule(LAW_ENFORCEMENT),
    _TOKEN + "GetKeyManifest": Rule(EVERYBODY),
    _TOKEN + "Evaluate": Rule(MEMBERS),
    "/grpc.health.v1.Health/Check": Rule(EVERYBODY),
    "/grpc.health.v1.Health/List": Rule(EVERYBODY),
    "/grpc.health.v1.Health/Watch": Rule(EVERYBODY),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(EVERYBODY),
}
"""Full method name → rule."""
