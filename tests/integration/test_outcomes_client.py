"""Outcomes as a member reports them: through the client and the command, journalled, verified offline."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from signalexchange.collect import collect, keep_receipts
from signalexchange.errors import RefusedError
from signalexchange.journal import Kind
from signalexchange.outcomes import parse_outcomes
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_REFUTED,
    Outcome,
    ReportOutcomesRequest,
)
from signalexchange.verify import verify

from tests.support.commands import run
from tests.support.sdk import CARD, PURPOSE, World, draft, luhn, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
NORTH, SOUTH = "bank-north", "bank-south"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("outcomes")) as running:
        yield running


async def test_a_report_is_journalled_acknowledged_and_verified(exchange: World, tmp_path: Path) -> None:
    north = await exchange.client(NORTH)
    published = await north.publish([draft(1), draft(2)])
    outcomes = [Outcome(signal_id=id_, verdict=VERDICT_CONFIRMED) for id_ in published.signal_ids]
    done = await north.report_outcomes(outcomes)
    (sent,) = north.journal.history(Kind.REPORT)
    assert (sent.id, sent.state, sent.index) == (done.id, "acknowledged", done.index)
    statement = parse_outcomes(ReportOutcomesRequest.FromString(sent.request).statement)
    assert {outcome.signal_id for outcome in statement.outcomes} == set(published.signal_ids)
    # Acknowledged: the same again is another report, since it may be an answer.
    again = await north.report_outcomes(outcomes[::-1])
    assert again.id != done.id
    assert not again.repeated
    audit = await exchange.client("audit-one")
    await collect(audit, tmp_path)
    keep_receipts(north.journal, tmp_path)
    result = verify(tmp_path, exchange.deployment.genesis.read_bytes())
    assert result.problems == []
    assert result.verified["outcomes"] == 2
    assert result.verified["versions"] == 1  # the second said nothing new
    assert result.verified["receipts"] >= 3


async def test_what_was_prepared_is_sent_again_and_what_is_refused_is_kept_as_such(exchange: World) -> None:
    north = await exchange.client(NORTH)
    published = await north.publish([draft(3)])
    confirmed = [Outcome(signal_id=published.signal_ids[0], verdict=VERDICT_CONFIRMED)]
    await north.report_outcomes(confirmed)
    with pytest.raises(RefusedError) as caught:
        await north.report_outcomes([Outcome(signal_id=published.signal_ids[0], verdict=VERDICT_REFUTED)])
    assert caught.value.reason == "OUTCOME_CONFLICT"
    assert [sent.state for sent in north.journal.history(Kind.REPORT)][-1] == "refused"
    # As after a crash between sending and the answer's coming.
    acknowledged = next(sent for sent in north.journal.history(Kind.REPORT) if sent.state == "acknowledged")
    with north.journal._store.transaction():
        north.journal._put_sent(type(acknowledged)(Kind.REPORT, acknowledged.id, acknowledged.request))
    (resumed,) = await north.resume_pending()
    assert not isinstance(resumed, RefusedError)
    assert (resumed.repeated, resumed.index) == (True, acknowledged.index)


async def test_the_commands(exchange: World) -> None:
    south = await exchange.client(SOUTH)
    (token,) = await south.tokens(CARD, [luhn(9)])
    await south.subscribe(PURPOSE, [token])
    north = await exchange.client(NORTH)
    published = await north.publish([draft(9)])
    signal_id = published.signal_ids[0].hex()
    refuted = await run(exchange, SOUTH, "outcomes", "report", signal_id, "--verdict", "refuted", "--json")
    assert refuted.json["signals"] == [signal_id]
    looked = (await run(exchange, SOUTH, "look-up", "card", luhn(9), "--purpose", PURPOSE, "--json")).json
    assert looked[0]["risk"]["disputed"] is True
    answer = await run(
        exchange, NORTH, "outcomes", "report", "--reference", "case-9", "--verdict", "confirmed"
    )
    assert answer.code == 0, answer.err
    assert "confirmed: 1 signals and 0 matches reported" in answer.out
    other = await run(exchange, NORTH, "outcomes", "report", signal_id, "--verdict", "inconclusive")
    assert other.code == 1
    assert "another" in other.err
    listed = await run(exchange, NORTH, "journal", "list", "--json")
    assert "report" in {each["kind"] for each in listed.json}
    table = await run(exchange, NORTH, "outcomes", "reliability")
    lines = [line.split("\t") for line in table.out.splitlines()]
    assert lines[0] == ["of", "confirmed", "refuted", "prior", "mean", "factor"]
    assert lines[1] == ["own signals", "0", "1", "8:2", "0.727", "1.000"]
    document: dict[str, Any] = (await run(exchange, NORTH, "outcomes", "reliability", "--json")).json
    assert document["own"]["refuted"] == 1
    assert document["codes"]["cash-out-suspected"]["factor_permille"] == 1000
    assert json.dumps(document)
    version = str(refuted.json["reports"][0]["index"] + 1)
    opened = (await run(exchange, "audit-one", "log", "open", version, "--json")).json
    assert (opened[0]["type"], opened[0]["member"]) == ("model", "")
    learned = opened[0]["payload"]
    assert learned["model"] == "additive-2"
    assert {tally["reporter"] for tally in learned["tallies"]} == {SOUTH}
    table = await run(exchange, "audit-one", "log", "open", version)
    assert f"version\t{learned['version']}" in table.out
    nothing = await run(exchange, NORTH, "outcomes", "report", "--verdict", "refuted")
    assert nothing.code == 2
