"""What the hub, the custodians and who copies the detector's folder try to learn of customers, and don't."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc.aio import _channel
from signalexchange.detector.arrivals import Label
from signalexchange.detector.transactions import Transaction
from signalexchange.flows import Kind

from tests.support import detector_stream as made
from tests.support.detect import Bench
from tests.support.detector_member import TYPES, Member, account, bought, settings, shop
from tests.support.sdk import luhn, world

PUBLISH = {
    "when": "fraud", "code": "card-leaked", "subject": "card", "grade": "confirmed", "confidence": 90,
    "valid_days": 30,
}  # fmt: skip


class Wire:
    """Every request this process sends, as it goes to gRPC."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []

    def serialising(self, method: str, serialise: Any) -> Any:
        def kept(message: Any) -> Any:
            data = message if serialise is None else serialise(message)
            self.calls.append((method, data))
            return data

        return kept


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    channel: Any = _channel.Channel
    for name in ("unary_unary", "unary_stream"):
        real = getattr(channel, name)

        def replaced(
            self: Any, method: str, request_serializer: Any = None, *rest: Any, _real: Any = real, **more: Any
        ) -> Any:
            return _real(self, method, found.serialising(method, request_serializer), *rest, **more)

        monkeypatch.setattr(channel, name, replaced)
    return found


def secrets(transactions: list[Transaction]) -> set[bytes]:
    """What nobody else may see of them, but the amounts."""
    found = set()
    for each in transactions:
        for value in (each.id, each.customer, each.merchant, each.payee, each.device, each.card):
            if value:
                found |= {value.encode(), value.lower().encode(), value.partition(":")[2].encode()}
    return {each for each in found if len(each) > 5}


async def test_nothing_raw_goes_to_the_hub_or_the_custodians(wire: Wire, tmp_path: Path) -> None:
    chosen = settings(publish=[PUBLISH], flows=True)
    async with world(tmp_path, types=TYPES) as running:
        member = await Member.open(running.config("bank-north"), tmp_path / "state", chosen, sending=True)
        rows = [
            bought(number, id=f"own-id-{number}", device=f"device-{number}", amount=98_765_432_100 + number)
            for number in range(5)
        ]
        moved = [
            replace(
                bought(10 + n, id=f"own-id-{10 + n}", card="", merchant=""),
                kind=Kind.TRANSFER, customer=account(20 + n), payee=account(21 + n),
                amount=98_765_432_100 - n,
            )
            for n in range(2)
        ]  # fmt: skip
        await member.take(*rows, *moved, Label("own-id-1", True, None))
        await member.sent()
        await member.close()
        hub, *logs = running.running.output, *running.network.logs.values()
        said = hub.getvalue() + b"".join(log.getvalue() for log in logs)
    methods = {method.rpartition("/")[2] for method, _ in wire.calls}
    assert {"LookUpSubjects", "PublishSignals", "Evaluate"} <= methods
    assert member.sender is not None
    assert member.sender.counts["published"] >= 3
    sent = b"".join(data for _, data in wire.calls)
    for value in secrets([*rows, *moved]):
        assert value not in sent, value
        assert value not in said, value
    # Amounts leave in bands alone: neither cents nor their digits are in what was sent.
    for each in (*rows, *moved):
        for digits in (str(each.amount), str(each.amount)[:-2], f"{each.amount / 100:.2f}"):
            assert digits.encode() not in sent
        assert _varint(each.amount) not in sent
        assert _varint(each.amount // 100) not in sent


def _varint(number: int) -> bytes:
    """As protobuf writes it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def test_who_copies_the_folder_reads_no_customer_in_it(tmp_path: Path) -> None:
    """Journal, write-ahead log, snapshot and model versions: after a kill and after an end in order."""
    bench = Bench(tmp_path)
    bench.settings(
        "lateness = 0\n[thresholds]\nauthenticate = 990\nhold = 1000\n[learning]\ndelay_days = 0\n"
        "held_out_days = 2\nperiod_days = 28\nevery_hours = 150\nfrauds = 3\n"
    )
    rows, labels = [], []
    for number, row in enumerate(made.stream(900, every=1_500)):
        fraud = number % 8 == 0
        rows.append(
            replace(
                row,
                id=f"secret-id-{number}",
                customer=f"secret-customer-{number % 9}",
                merchant=shop(number % 7),
                card=luhn(number % 11),
                amount=(498_765 if fraud else 2_000) + number,
            )
        )
        if fraud:
            labels.append({"id": row.id.replace("t-", "secret-id-"), "fraud": 1, "at": row.time + 3_600})
    bench.rows(rows)
    made.write_rows(tmp_path / "labels.jsonl", labels)
    process = bench.start("rows.jsonl", "--labels", "labels.jsonl")
    process.until(lambda _: bench.output.exists() and bench.output.stat().st_size > 50_000)
    process.close()
    files = _searched(bench.state, rows)
    assert "journal.db-wal" in files
    done = bench.run("rows.jsonl", "--labels", "labels.jsonl")
    files = _searched(bench.state, rows)
    assert any(name.startswith("snapshot-") for name in files)
    assert any(name.startswith("model-") for name in files), done.err
    assert all(path.stat().st_mode & 0o077 == 0 for path in bench.state.rglob("*"))


def _searched(state: Path, rows: list[Transaction]) -> set[str]:
    """The names of the folder's files, in none of which anything of the rows is found."""
    wanted = re.compile(b"|".join(sorted(re.escape(each) for each in secrets(rows) | {b"secret"})))
    names = set()
    for path in state.rglob("*"):
        if path.is_file():
            names.add(path.name)
            found = wanted.search(path.read_bytes())
            assert found is None, (path.name, found)
    return names


async def test_messages_of_what_is_not_taken_hold_no_value(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    good = {"id": "secret-id", "time": made.START, "customer": "secret-customer", "amount": 12}
    lines: list[dict[str, Any]] = [good, good | {"amount": 13}]
    lines += [good | {"amount": "secret-amount"}, good | {"time": "secret-time"}, good | {"kind": "secret"}]
    lines += [{"id": "secret-other", "fraud": True}, {"id": "secret-id", "fraud": "secret"}]
    path = bench.rows(lines, "stream")
    done = await asyncio.to_thread(bench.run, "--replay", stdin=path)
    assert done.err.count("not taken") == 6
    assert "secret" not in done.err
