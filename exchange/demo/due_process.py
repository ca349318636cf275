"""Two members' officers at work on one match of the demo: asked, restricted, appealed against, lifted.

Invariants: what the members learn here they learn over the exchange; who decides the appeal took no part
before; the replay's clock is moved by others alone; what is reported is what the hub answered and what the
other member was told, whether good or bad.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from signalexchange.cases import parse_step, step_name
from signalexchange.client import ExchangeClient
from signalexchange.config import load_config
from signalexchange.errors import VerificationError
from signalexchange.notices.rendering import Value, render
from signalexchange.officers import Grounds, StepTaken
from signalexchange.roster import identifier_type
from signalexchange.signals import SignalDraft, Subject
from signalexchange.v1.case_service_pb2 import Case, CaseEvidence
from signalexchange.v1.identifier_pb2 import SubjectToken
from signalexchange.v1.match_service_pb2 import MATCH_STATUS_OPEN, Match, Pattern
from signalexchange.v1.outcome_service_pb2 import VERDICT_INCONCLUSIVE
from signalexchange.v1.signal_pb2 import EVIDENCE_GRADE_SUSPECTED
from signalexchange.v1.signal_service_pb2 import (
    ACTION_ALLOW,
    ACTION_AUTHENTICATE,
    ACTION_EXPLAIN,
    ACTION_RESTRICT,
    Action,
    SignalChange,
)

from exchange.demo.desk import PATIENCE
from exchange.demo.proceedings import Proceedings
from exchange.provision import Deployment

DAY: Final = 86_400
PURPOSE: Final = "credit-decision"
"""What the other member asks for: a purpose under which a match may call for an explanation."""
SUSPICION: Final = "cash-out-suspected"
"""What the acting member's officer says of the subject."""
ASKING: Final = ("bank", "payment_provider")
"""Kinds of members that grant credit."""
_CAREFUL: Final = 30.0
"""Seconds for which news of a correction is waited."""
_CONTACT: Final = "95588"
_FIRST, _SECOND, _THIRD = "officer-1", "officer-2", "officer-3"


@dataclass(frozen=True)
class Chosen:
    """What is carried through: a match and its subject, the member that acts and another that asks about
    him."""

    match: Match
    token: SubjectToken
    value: str
    acting: str
    other: str


class DueProcess:
    """Two members' officers at work, from morning to morning. An asynchronous context manager."""

    def __init__(self, deployment: Deployment, console: Console, now: int) -> None:
        """`now` (Unix seconds) is what the replay's clock says."""
        self._deployment = deployment
        self._console = console
        self.now = now
        self.proceedings: Proceedings | None = None
        """What came of it, once it is over."""
        self.match_id = ""
        """The match that is carried through."""
        self._clients: dict[str, ExchangeClient] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "DueProcess":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def carry(self, told: Mapping[str, Mapping[str, Any]]) -> AsyncGenerator[int, None]:
        """Carry a match through, if there is one that calls for it; `told` is what each member was told.

        Yields when it wants to go on, Unix seconds: the replay's clock must stand there or later, and `now`
        too.
        """
        chosen = await self._choose(told)
        if chosen is not None:
            async with aclosing(self._work(chosen)) as work:
                async for wanted in work:
                    yield wanted

    async def _choose(self, told: Mapping[str, Mapping[str, Any]]) -> Chosen | None:
        """The surest match with a subject about whom another member would be advised to do more than
        authenticate; whoever acts grants credit itself, if there is such a match."""
        kinds = {spec.id: spec.kind for spec in self._deployment.members}
        matches = {
            (kinds[member] in ASKING, each["confidence"], each["id"], member): each
            for member, summary in told.items()
            for each in summary["matches"]
        }
        for (_, _, id_, member), summary in sorted(matches.items(), reverse=True):
            client = await self._client(member)
            match = await client.matches.get(bytes.fromhex(id_), timeout=PATIENCE)
            if match.status != MATCH_STATUS_OPEN:
                continue
            values = await self._tokens(client, summary["named"])
            for subject in match.subjects:
                value = values.get(subject.token.value)
                if value is None or subject.advice <= ACTION_AUTHENTICATE:
                    continue
                for other, kind in kinds.items():
                    if other == member or kind not in ASKING:
                        continue
                    if await self._advice(other, subject.token, value) > ACTION_AUTHENTICATE:
                        return Chosen(match, subject.token, value, member, other)
        return None

    async def _work(self, chosen: Chosen) -> AsyncGenerator[int, None]:
        self.match_id = chosen.match.match_id.hex()
        acting, other = await self._client(chosen.acting), await self._client(chosen.other)
        pattern, start = _pattern(chosen.match), self.now
        reason = pattern.replace(" ", "-")
        changes: list[str] = []
        watching = asyncio.create_task(self._watch(other, chosen.other, changes))
        try:
            opened = await acting.cases.open(
                chosen.token, Grounds(_FIRST, reason), match_id=chosen.match.match_id, timeout=PATIENCE
            )
            case_id = opened.case.case_id
            reference = f"case {case_id.hex()[:8]}"
            acting.journal.remember({chosen.token.value: [reference]})
            self._say(chosen.acting, f"opens a case on a {pattern} match ({_FIRST})")
            published = await acting.publish([_suspicion(chosen, self.now, reference)], timeout=PATIENCE)
            before = await self._advice(chosen.other, chosen.token, chosen.value)
            self._say(chosen.other, f"the same customer asks for credit: advised to {_name(before)}")

            await self._act(acting, case_id, ACTION_AUTHENTICATE)
            rules = (await acting.roster.rulebook()).cases
            due = self.now + rules.explanation_days * DAY
            await self._act(acting, case_id, ACTION_EXPLAIN, explain_by=due)
            self._say(chosen.acting, f"the customer authenticates, and may explain until {_day(due)}")
            yield due + DAY
            evidence = (
                CaseEvidence(match_id=chosen.match.match_id),
                CaseEvidence(signal_id=published.signal_ids[0]),
            )
            await self._act(acting, case_id, ACTION_RESTRICT, evidence=evidence)
            self._say(chosen.acting, f"no explanation came: credit functions are restricted ({_FIRST})")

            yield self.now + DAY
            await acting.cases.receive_appeal(
                case_id,
                b"the goods were delivered; the invoices are enclosed",
                Grounds(_SECOND),
                signal_ids=published.signal_ids,
                timeout=PATIENCE,
            )
            await self._told(watching, changes, 1)
            during = await self._advice(chosen.other, chosen.token, chosen.value)
            self._say(chosen.acting, f"the customer appeals, with invoices ({_SECOND})")
            self._say(chosen.other, f"is told within the same watch; now advised to {_name(during)} at most")

            yield self.now + DAY
            granted = await acting.cases.decide_appeal(case_id, True, Grounds(_THIRD), timeout=PATIENCE)
            await self._told(watching, changes, 2)
            after = await self._advice(chosen.other, chosen.token, chosen.value)
            self._say(
                chosen.acting, f"the appeal is granted and the measure lifted ({_THIRD}, who took no part)"
            )
            closed = await acting.cases.close(
                case_id, VERDICT_INCONCLUSIVE, Grounds(_FIRST), timeout=PATIENCE
            )
            # Once more for those that came last; what is acknowledged is counted on the log.
            await other.resume_pending(timeout=PATIENCE)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self.proceedings = Proceedings(
            match_id=self.match_id,
            pattern=pattern,
            acting=chosen.acting,
            other=chosen.other,
            steps=_ladder(closed.case),
            days=(self.now - start) // DAY,
            before=_name(before),
            during=_name(during),
            after=_name(after),
            corrections={change: changes.count(change) for change in dict.fromkeys(changes)},
            acknowledged=0,
            lifted=granted.case.state.measure == ACTION_ALLOW,
        )

    async def _act(
        self,
        client: ExchangeClient,
        case_id: bytes,
        action: Action.ValueType,
        *,
        explain_by: int = 0,
        evidence: tuple[CaseEvidence, ...] = (),
    ) -> StepTaken:
        """An action by the first officer, with its notice."""
        name = _name(action)
        values: dict[str, Value] = {
            "institution": client.member,
            "contact": _CONTACT,
            "reference": case_id.hex()[:8],
        }
        if action == ACTION_EXPLAIN:
            values |= {"merchant": "a shop", "amount": "5000", "deadline": explain_by}
        notice = render(f"advice-{name}", "zh-CN", values)
        grounds = Grounds(_FIRST, evidence=evidence)
        return await client.cases.act(
            case_id, action, grounds, notice=notice, explain_by=explain_by, timeout=PATIENCE
        )

    async def _advice(self, member: str, token: SubjectToken, value: str) -> Action.ValueType:
        """What a member that asks about the identifier itself is advised to do; it must come to the same
        token.

        Raises VerificationError where the token is another.
        """
        client = await self._client(member)
        (own,) = await client.tokens(token.type, [value])
        if own.value != token.value:
            raise VerificationError("two members' tokens of one identifier differ")
        (answer,) = await client.look_up(PURPOSE, [own], timeout=PATIENCE)
        return ACTION_ALLOW if answer.risk is None else answer.risk.advice

    async def _tokens(self, client: ExchangeClient, named: Sequence[str]) -> dict[bytes, str]:
        """The member's own identifiers, such as "phone:+86…", by their tokens."""
        by_type: dict[str, list[str]] = {}
        for each in named:
            kind, _, value = each.partition(":")
            by_type.setdefault(kind, []).append(value)
        found: dict[bytes, str] = {}
        for kind, values in by_type.items():
            tokens = await client.tokens(identifier_type(kind), values)
            found |= {token.value: value for token, value in zip(tokens, values, strict=True)}
        return found

    async def _watch(self, client: ExchangeClient, member: str, changes: list[str]) -> None:
        """Keep what the member is told of others' signals that it had been shown."""
        async for event in client.watch(from_now=True):
            if event.correction is not None:
                change = SignalChange.Name(event.change).removeprefix("SIGNAL_CHANGE_").lower()
                changes.append(change)

    async def _told(self, watching: "asyncio.Task[None]", changes: Sequence[str], count: int) -> None:
        """Wait until the other member was told so often; not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CAREFUL):
                while len(changes) < count:
                    if watching.done():
                        watching.result()
                    await asyncio.sleep(0.05)

    async def _client(self, member: str) -> ExchangeClient:
        if member not in self._clients:
            config = load_config(self._deployment.party_config(member))
            self._clients[member] = await self._stack.enter_async_context(ExchangeClient.from_config(config))
        return self._clients[member]

    def _say(self, member: str, text: str) -> None:
        self._console.print(f"  {member:11} {_day(self.now)}  {text}", markup=False, soft_wrap=True)


def _suspicion(chosen: Chosen, now: int, reference: str) -> SignalDraft:
    return SignalDraft(
        subject=Subject(chosen.token.type, chosen.value),
        code=SUSPICION,
        confidence=80,
        grade=EVIDENCE_GRADE_SUSPECTED,
        first_seen=now - DAY,
        last_seen=now - DAY,
        expires_at=now + 90 * DAY,
        reference=reference,
        detail="credit drawn as cash over a sham purchase",
    )


def _ladder(case: Case) -> list[str]:
    return [step_name(parse_step(step.statement)) for step in case.steps]


def _pattern(match: Match) -> str:
    return Pattern.Name(match.pattern).removeprefix("PATTERN_").lower().replace("_", " ")


def _name(action: Action.ValueType) -> str:
    return Action.Name(action).removeprefix("ACTION_").lower()


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%m-%d")
