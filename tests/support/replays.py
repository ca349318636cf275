"""A log with a bit of everything that scores stand on, and what a replay finds in a copy of its database."""

import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

from signalexchange.v1.log_entry_pb2 import AccessEntry, EntryType, ModelEntry
from signalexchange.v1.membership_service_pb2 import SuspendMemberRequest
from signalexchange.v1.outcome_service_pb2 import VERDICT_CONFIRMED, VERDICT_REFUTED
from signalexchange.v1.signal_pb2 import WITHDRAWAL_REASON_ERASURE, WITHDRAWAL_REASON_REFUTED
from signalexchange.v1.signal_service_pb2 import LookUpSubjectsResponse

from exchange.provision import Deployment, PartySpec
from exchange.storage.archive import open_archive
from exchange.usecases.replay.report import ReplayReport
from exchange.usecases.replay.walk import replay
from tests.support.exchange import Running, deploy
from tests.support.hub import hub_database
from tests.support.loops import IBAN, TYPES, Loop
from tests.support.members import DAY, look_up
from tests.support.outcomes import INVESTIGATION, START, at, claim, follow, publish, report

A, B, C, D, ASKING = "bank-a", "bank-b", "bank-c", "bank-d", "bank-asking"
PARTIES = (
    *(PartySpec(name, "bank", f"{name}-group") for name in (A, B, C, D, ASKING)),
    PartySpec("operator", "operator", "exchange-operator"),
    PartySpec("audit-one", "auditor", "audit"),
)


def settlement(folder: Path) -> Deployment:
    """Five banks of five groups, on a replay clock."""
    return deploy(folder, clock=START, parties=PARTIES, types=TYPES)


async def answer(hub: Running, tokens: list[bytes], **options: Any) -> LookUpSubjectsResponse:
    """What the asking bank is told."""
    request = look_up(tokens, **({"purpose": INVESTIGATION} | options))
    said: LookUpSubjectsResponse = await hub[ASKING].signals.LookUpSubjects(request, timeout=10)
    return said


async def live(hub: Running) -> list[LookUpSubjectsResponse]:
    """Accusations, refutations by two groups, a dispute, a loop and verdicts on it, withdrawals with and
    without erasure, a suspension, and days that pass: with what is answered in between."""
    subjects = [claim() for _ in range(3)]
    tokens = [one.subject.value for one in subjects]
    told = [claim() for _ in range(6)]
    for member in (B, C):
        await follow(hub, member, *(one.subject.value for one in told), *tokens)
    await publish(hub, A, *subjects, *told)
    await publish(hub, D, *(claim(token) for token in tokens))
    answers = [await answer(hub, tokens)]
    for member in (B, C):
        await report(hub, member, {one.signal_id: VERDICT_REFUTED for one in told})
        answers.append(await answer(hub, tokens))
    await report(hub, B, {subjects[0].signal_id: VERDICT_REFUTED})
    answers.append(await answer(hub, tokens))
    loop = Loop(start=START // 300 * 300 - DAY)
    for member, leg in zip((A, B, C), (loop.purchase(), loop.settlement(), loop.backflow()), strict=True):
        await publish(hub, member, leg)
    matching = hub.hub._exchange.matching
    await matching.settled()
    answers.append(await answer(hub, [loop.payer.value], type_=IBAN))
    (match,) = matching.matcher.matches
    for member in (A, B):
        await report(hub, member, {match: VERDICT_CONFIRMED}, matches=True)
    await matching.settled()
    answers.append(await answer(hub, [loop.payer.value], type_=IBAN))
    at(hub, DAY + 60)
    order = hub.pen(A).withdrawal([subjects[1].signal_id], WITHDRAWAL_REASON_REFUTED)
    await hub[A].signals.WithdrawSignals(order, timeout=10)
    answers.append(await answer(hub, tokens))
    request = SuspendMemberRequest(member=C, reason="under inquiry")
    await hub["operator"].membership.SuspendMember(request, timeout=10)
    await matching.settled()
    answers.append(await answer(hub, tokens))
    answers.append(await answer(hub, [loop.payer.value], type_=IBAN))
    return answers


async def erase(hub: Running, member: str, *signal_ids: bytes) -> None:
    order = hub.pen(member).withdrawal(signal_ids, WITHDRAWAL_REASON_ERASURE)
    await hub[member].signals.WithdrawSignals(order, timeout=10)


def replayed(folder: Path) -> ReplayReport:
    """What a replay of the data folder finds; it must leave every file as it was."""
    before = {path.name: sha256(path.read_bytes()).digest() for path in folder.iterdir()}
    with open_archive(folder) as archive:
        found = replay(archive)
    assert {path.name: sha256(path.read_bytes()).digest() for path in folder.iterdir()} == before
    return found


def tampered(deployment: Deployment, folder: Path, statement: str, *values: object) -> ReplayReport:
    """What a replay finds in a copy of a stopped hub's database after somebody changed it."""
    folder.mkdir()
    copy = Path(shutil.copy(hub_database(deployment), folder))
    with sqlite3.connect(copy) as database:
        assert database.execute(statement, values).rowcount
    database.close()
    return replayed(folder)


def of_type(deployment: Deployment, type_: EntryType.ValueType) -> dict[int, bytes]:
    """Payloads of a stopped hub's entries of a type, by index."""
    database = sqlite3.connect(hub_database(deployment))
    rows = database.execute("SELECT idx, payload FROM entries WHERE type = ? ORDER BY idx", (type_,))
    found = dict(rows.fetchall())
    database.close()
    return found


def versions(deployment: Deployment) -> list[ModelEntry]:
    """The versions of what is learned, as logged."""
    return [ModelEntry.FromString(each) for each in of_type(deployment, EntryType.ENTRY_TYPE_MODEL).values()]


def look_ups(deployment: Deployment) -> dict[int, AccessEntry]:
    """The look-ups on the log."""
    logged = of_type(deployment, EntryType.ENTRY_TYPE_LOOK_UP)
    return {index: AccessEntry.FromString(each) for index, each in logged.items()}
