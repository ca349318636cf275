"""What a step rests on: what the member reported, was told of or asked, and nothing else.

Invariants: a proceeding about a match is opened by a member that was told of the match and submitted its
subject; one about advice names a look-up of the member's own in which the subject hit; evidence of others
that the member was never told of is as unknown to it as if there were none.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Self

from signalexchange.notices import advice_code
from signalexchange.notices.catalogue import packaged_catalogue
from signalexchange.roster import Party
from signalexchange.v1.case_service_pb2 import (
    CASE_ORIGIN_ADVICE,
    CASE_ORIGIN_HAND,
    CASE_ORIGIN_MATCH,
    CaseStatement,
    OpenCase,
)
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.log_entry_pb2 import ENTRY_TYPE_LOOK_UP, AccessEntry
from signalexchange.v1.signal_service_pb2 import ACTION_EXPLAIN

from exchange.domain.matching.confidence import NAMES
from exchange.domain.records import Entry, SignalState
from exchange.domain.refusal import Refusal, invalid
from exchange.domain.store import Store
from exchange.domain.validation import TOKEN_SIZE, check_type_and_epoch
from exchange.usecases.exchange import Exchange
from exchange.usecases.record_matches import Circle, Own

_ASKED = {"step-explanation-asked"}


class Grounds(NamedTuple):
    """What is stored of all that a step names."""

    signals: Mapping[bytes, SignalState]
    told_of: Collection[int]
    matches: Collection[bytes]
    """Those of the matches that the member was told of."""
    look_ups: Mapping[int, Entry]
    """Access records of look-ups of the member's own."""

    @classmethod
    async def read(cls, store: Store, party: Party, statement: CaseStatement) -> Self:
        """As last committed."""
        ids = [item.signal_id for item in statement.evidence if item.signal_id]
        ids += statement.receive_appeal.signal_ids
        signals = await store.signals(ids) if ids else {}
        matches = [item.match_id for item in statement.evidence if item.match_id]
        indices = [item.look_up for item in statement.evidence if item.WhichOneof("what") == "look_up"]
        if statement.open.match_id:
            matches.append(statement.open.match_id)
        if statement.open.look_up:
            indices.append(statement.open.look_up)
        # Whatever number a statement holds.
        found = await store.entries([index for index in indices if index < 1 << 62]) if indices else []
        return cls(
            signals,
            await store.told_of(party.id, [state.place for state in signals.values()]) if signals else (),
            await store.matches_of(party.id, matches) if matches else (),
            {e.idx: e for e in found if e.type == ENTRY_TYPE_LOOK_UP and e.member == party.id},
        )

    def check_evidence(self, party: Party, statement: CaseStatement) -> None:
        """Raise Refusal SIGNAL_UNKNOWN, MATCH_UNKNOWN or INVALID_REQUEST unless the member may rest on it."""
        signals: list[tuple[str, str]] = []
        matches: list[tuple[str, str]] = []
        look_ups: list[tuple[str, str]] = []
        for at, item in enumerate(statement.evidence):
            what, field = item.WhichOneof("what"), f"statement.evidence[{at}]"
            if what == "signal_id" and not self._knows(party, item.signal_id):
                signals.append((f"{field}.signal_id", "is none known to the caller"))
            elif what == "match_id" and item.match_id not in self.matches:
                matches.append((f"{field}.match_id", "is none that concerns the caller"))
            elif what == "look_up" and item.look_up not in self.look_ups:
                look_ups.append((f"{field}.look_up", "is no look-up of the caller's"))
        for at, signal_id in enumerate(statement.receive_appeal.signal_ids):
            if not self._knows(party, signal_id):
                field = f"statement.receive_appeal.signal_ids[{at}]"
                signals.append((field, "is none known to the caller"))
        for reason, message, unknown in (
            (ErrorReason.ERROR_REASON_SIGNAL_UNKNOWN, "the caller knows no signal of that id", signals),
            (ErrorReason.ERROR_REASON_MATCH_UNKNOWN, "no match of that id concerns the caller", matches),
            (ErrorReason.ERROR_REASON_INVALID_REQUEST, "the look-up is none of the caller's", look_ups),
        ):
            if unknown:
                raise Refusal(reason, message, violations=unknown)

    def _knows(self, party: Party, signal_id: bytes) -> bool:
        state = self.signals.get(signal_id)
        return state is not None and (state.issuer == party.id or state.place in self.told_of)

    def check_opening(self, opened: OpenCase, own: Own, epoch_valid: Callable[[int, int], bool]) -> None:
        """Raise Refusal unless the member may open a proceeding so; `own` are the subjects of the match that
        it submitted."""
        subject = opened.subject
        meant = subject.type, subject.epoch
        if opened.origin == CASE_ORIGIN_HAND:
            check_type_and_epoch(*meant, epoch_valid)
        elif opened.origin == CASE_ORIGIN_MATCH:
            if opened.match_id not in self.matches:
                raise Refusal(
                    ErrorReason.ERROR_REASON_MATCH_UNKNOWN,
                    "there is no match of that id that concerns the caller",
                    violations=[("statement.open.match_id", "is none that concerns the caller")],
                )
            if own.get(subject.value) != meant:
                raise invalid(
                    "statement.open.subject", "is no subject of the match that the caller submitted"
                )
        elif opened.origin == CASE_ORIGIN_ADVICE:
            self._check_advice(opened, meant)

    def _check_advice(self, opened: OpenCase, meant: tuple[int, int]) -> None:
        entry = self.look_ups.get(opened.look_up)
        if entry is None:
            raise invalid("statement.open.look_up", "is no look-up of the caller's")
        if not entry.payload_opening:
            raise Refusal(
                ErrorReason.ERROR_REASON_ERASED,
                "the term of the look-up's record is over: what hit can't be told any more",
                violations=[("statement.open.look_up", "its content has been erased")],
            )
        access = AccessEntry.FromString(entry.payload)
        hits = {access.hits[at : at + TOKEN_SIZE] for at in range(0, len(access.hits), TOKEN_SIZE)}
        if opened.subject.value not in hits or (access.type, access.epoch) != meant:
            raise invalid("statement.open.subject", "did not hit in that look-up")


def check_reason(exchange: Exchange, reason: str) -> None:
    """Refuse a reason that is neither a code nor a pattern."""
    if exchange.membership.rulebook.code(reason) is None and reason not in NAMES.values():
        raise invalid("statement.reason", "is neither an indicator code of the rulebook nor a pattern")


def check_notice(statement: CaseStatement) -> None:
    """Refuse an action with another notice than everybody gets with it, and an acknowledgement of none that
    there is: a text chosen case by case could tip somebody off."""
    action = statement.action
    if statement.HasField("action"):
        meant = {advice_code(action.action)} | (_ASKED if action.action == ACTION_EXPLAIN else set())
        if action.notice.code not in meant:
            raise invalid("statement.action.notice.code", f"must be {' or '.join(sorted(meant))}")
    elif statement.HasField("acknowledge_notice"):
        code = statement.acknowledge_notice.notice.code
        if code not in packaged_catalogue().notices:
            raise Refusal(ErrorReason.ERROR_REASON_NOTICE_UNKNOWN, "there is no notice of that code")


async def own_subjects(exchange: Exchange, party: Party, match_id: bytes) -> Own:
    """The subjects of a match that the party submitted itself; none where the match is gone."""
    matching = exchange.matching
    async with matching.lock:
        match = matching.matcher.matches.get(match_id)
        if match is None:
            return {}
        circle = await Circle.read(
            exchange.membership, matching.naming, exchange.store, [match], exchange.clock()
        )
        return circle.submitted(match).get(party.id, {})
