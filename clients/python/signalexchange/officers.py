"""Taking a step of a case: built on the case as it was read, signed by an officer, journalled, sent.

Invariants: a step is journalled, byte for byte and with all that it commits to, before it is sent; while the
fate of a step is unknown none is taken after it; what officers write never leaves the journal. A step rests
on the case as it was read, so that of two officers at once the second is told.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from signalexchange.case_reader import CaseReader
from signalexchange.cases import Sign, open_step, parse_step, sign_step
from signalexchange.connection import Connection
from signalexchange.envelope import ID_SIZE
from signalexchange.errors import ConfigError, MalformedError, RefusedError, VerificationError
from signalexchange.journal import Journal, Kind, Record
from signalexchange.log_client import LogClient
from signalexchange.roster import Roster
from signalexchange.roster_client import RosterClient
from signalexchange.sending import Acknowledged, Sender
from signalexchange.v1.case_service_pb2 import Case, CaseEvidence, CaseStatement, RecordStepRequest
from signalexchange.v1.outcome_service_pb2 import Outcome, ReportOutcomesRequest

SALT_SIZE: Final = 32
_OUTCOME = re.compile(r"outcomes\[([0-9]{1,4})\]")

Report = Callable[[bytes, int, Sequence[Outcome]], Awaitable[ReportOutcomesRequest]]
"""Signs outcomes as the member's report that goes with the step of a case id and a sequence number."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Who takes a step, why and on what.

    `officer` is the id of an officer's key, needed where the configuration has several; `reason` a code or
    pattern of the rulebook, that of the step before if empty; `evidence` names signals, matches and look-ups;
    `records` are what officers write or keep (text or files): they stay in the journal, and the step commits
    to each.
    """

    officer: str = ""
    reason: str = ""
    evidence: tuple[CaseEvidence, ...] = ()
    records: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step that is durable and logged at `index`, the case after it, and what followed from it.

    `followed` are batches and orders: a sanction's signal that was published, or such that were withdrawn.
    """

    case: Case
    index: int
    repeated: bool
    followed: tuple[Acknowledged, ...] = ()


class Officers:
    """A member's officers at this machine. `keys` maps ids of their keys on the roster to what signs with
    them."""

    def __init__(
        self,
        reader: CaseReader,
        hub: Connection,
        log: LogClient,
        rosters: RosterClient,
        member: str,
        keys: Mapping[str, Sign],
        journal: Callable[[], Journal],
        report: Report,
        clock: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._hub = hub
        self._log = log
        self._rosters = rosters
        self._member = member
        self._keys = dict(keys)
        self._journal = journal
        self._report = report
        self._clock = clock

    async def take(
        self,
        case: Case,
        grounds: Grounds,
        step: Mapping[str, Any],
        records: Sequence[Record] = (),
        *,
        outcomes: Sequence[Outcome] = (),
        timeout: float,  # noqa: ASYNC109
    ) -> StepTaken:
        """Build, sign, journal and send the step after those of `case`."""
        journal = self._journal()
        roster = await self._rosters.roster()
        key_id, sign = self.signer(grounds.officer)
        await asyncio.to_thread(self._none_undecided, journal, case)
        kept = [kept_record(case.case_id, "evidence", content) for content in grounds.records]
        evidence = [*grounds.evidence, *(CaseEvidence(record=each.commitment) for each in kept)]
        last = case.steps[-1].statement if case.steps else b""
        statement = CaseStatement(
            origin=roster.origin,
            member=self._member,
            key_id=key_id,
            case_id=case.case_id,
            sequence=len(case.steps),
            previous=sha256(last).digest() if last else b"",
            reason=grounds.reason or parse_step(last).reason,
            evidence=evidence,
            **step,
        )
        report: ReportOutcomesRequest | None = None
        if outcomes:
            report = await self._report(case.case_id, statement.sequence, outcomes)
        try:
            request = sign_step(statement, sign, outcomes=report)
        except MalformedError as error:
            raise ConfigError(f"nobody may sign such a step: {error}") from None
        try:
            open_step(request.statement, request.signature, self.public_key(roster, key_id))
        except VerificationError:
            raise ConfigError(
                f"the key file of {key_id} is not the key that the roster lists: see [officers]"
            ) from None
        id_ = sha256(request.statement).digest()[:ID_SIZE]
        encoded = request.SerializeToString()
        sent = await asyncio.to_thread(journal.prepare_step, id_, encoded, case.case_id, [*records, *kept])
        done = await Sender(self._hub, self._log, journal).send(sent, timeout)
        if done.case is None or done.case.case_id != case.case_id:
            raise VerificationError("the hub answered about another case than the one of the step")
        return StepTaken(await self._reader.checked(done.case), done.index, done.repeated)

    async def take_with(
        self,
        case: Case,
        grounds: Grounds,
        step: Mapping[str, Any],
        outcomes: Sequence[Outcome],
        timeout: float,  # noqa: ASYNC109
    ) -> StepTaken:
        """Take a step that carries a report, without what the hub says can't be reported (any more): neither
        a signal nor a match that has another verdict may keep a case from being closed or an appeal from
        being granted."""
        while True:
            try:
                return await self.take(case, grounds, step, outcomes=outcomes, timeout=timeout)
            except RefusedError as error:
                fields = (_OUTCOME.match(field) for field, _ in error.violations)
                named = {int(field[1]) for field in fields if field is not None}
                left = [each for at, each in enumerate(outcomes) if at not in named]
                if error.reason not in ("SIGNAL_UNKNOWN", "OUTCOME_CONFLICT") or len(left) == len(outcomes):
                    raise
                outcomes = left

    def _none_undecided(self, journal: Journal, case: Case) -> None:
        """Raise ConfigError where the fate of a step of this case is unknown, or of one that opens a case
        about the same subject: opened by hand, it would be another."""
        for sent in journal.pending():
            if sent.kind is not Kind.STEP:
                continue
            statement = parse_step(RecordStepRequest.FromString(sent.request).statement)
            if statement.case_id == case.case_id or (
                not case.steps and statement.open.subject == case.subject
            ):
                raise ConfigError(
                    "a step of this case was sent and its fate is unknown; run signalexchange journal "
                    "resume, then look at the case again"
                )

    def signer(self, key_id: str) -> tuple[str, Sign]:
        """The key's id, which may be left out where there is one, and what signs with it. Raises
        ConfigError."""
        if not self._keys:
            raise ConfigError("this needs an officer's key; add [officers] to the configuration")
        if not key_id:
            if len(self._keys) > 1:
                raise ConfigError(f"say which officer signs: {', '.join(self._keys)}")
            (key_id,) = self._keys
        if key_id not in self._keys:
            raise ConfigError(f"[officers] has no key {key_id!r}; it has {', '.join(self._keys)}")
        return key_id, self._keys[key_id]

    def public_key(self, roster: Roster, key_id: str) -> bytes:
        """The officer's public key, valid now; raises ConfigError."""
        key = roster.officer_key(self._member, key_id, self._clock())
        if key is None:
            raise ConfigError(f"the roster lists no officer's key {key_id!r} of this member valid now")
        return key.public_key


def kept_record(case_id: bytes, what: str, content: bytes) -> Record:
    """A record of a case under a fresh salt."""
    return Record(case_id, what, secrets.token_bytes(SALT_SIZE), content)
