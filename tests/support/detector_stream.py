"""Streams of transactions as a member's systems give them, for tests of the detector as a whole."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from signalexchange.detector.settings import DetectorSettings
from signalexchange.detector.transactions import Transaction
from signalexchange.flows import Kind

START = 1_750_000_000
KINDS = (Kind.PURCHASE, Kind.PURCHASE, Kind.PURCHASE, Kind.TRANSFER, Kind.REFUND)


def stream(count: int, *, seed: int = 1, every: int = 97, start: int = START) -> list[Transaction]:
    """So many transactions of a few customers, by time; some of them hit rules."""
    draw = random.Random(seed)  # noqa: S311 - a made-up stream
    found = []
    for number in range(count):
        kind = draw.choice(KINDS)
        customer = f"customer-{draw.randrange(7)}"
        found.append(
            Transaction(
                id=f"t-{number}",
                time=start + number * every + draw.randrange(every),
                customer=customer,
                amount=draw.choice((1_000, 5_000, 20_000, 900_000)),
                kind=kind,
                merchant="" if kind is Kind.TRANSFER else f"shop-{draw.randrange(4)}",
                payee=f"customer-{draw.randrange(7)}" if kind is Kind.TRANSFER else "",
                device=f"device-{draw.randrange(5)}",
                card=f"card-{customer}" if kind is not Kind.TRANSFER else "",
                credit=draw.random() < 0.5,
                limit=1_000_000,
            )
        )
    return found


def cells(t: Transaction) -> dict[str, Any]:
    """The row of a transaction in a table."""
    row: dict[str, Any] = {
        "id": t.id,
        "time": t.time,
        "customer": t.customer,
        "amount": f"{t.amount // 100}.{t.amount % 100:02d}",
        "kind": t.kind.name.lower(),
        "credit": t.credit,
        "limit": f"{t.limit // 100}",
    }
    return row | {
        name: value for name in ("merchant", "payee", "device", "card") if (value := getattr(t, name))
    }


def line(row: Transaction | dict[str, Any]) -> str:
    """A line of JSON Lines."""
    return json.dumps(cells(row) if isinstance(row, Transaction) else row) + "\n"


def write_rows(path: Path, rows: Iterable[Transaction | dict[str, Any]]) -> Path:
    path.write_text("".join(map(line, rows)))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON Lines, each line whole."""
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(each) for each in text.splitlines()]


def settings(**changes: Any) -> DetectorSettings:
    """Settings under which nothing waits for others, but for what is changed."""
    return DetectorSettings.model_validate({"lateness": 0, **changes})


def parts(items: Sequence[Any], sizes: Iterable[int]) -> Iterator[Sequence[Any]]:
    """The items in parts of these sizes, the last with what is left."""
    start = 0
    for size in sizes:
        yield items[start : start + size]
        start += size
    yield items[start:]
