"""Transactions as a member sees them, and readers of them: files, or JSON Lines as they arrive.

Invariants: the same content gives the same transactions from CSV, JSON Lines and Parquet; a row is one
transaction or one `Rejected` with its place, never nothing; amounts are whole cents, none is rounded but
beyond its 15th digit, where floating point is noise; errors name file, row and column and never hold a
cell's value.

Columns, required: id, time (Unix seconds or ISO 8601; without an offset only where `Columns` has a zone),
customer, amount (with at most two decimals). Optional: kind (purchase, transfer, refund, repayment),
merchant, payee, device, card, credit, limit, currency. Columns that belong to none of these are refused,
as a misspelt one would silently be left out; where a file's own names are mapped, they are passed over.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, tzinfo
from decimal import Context, Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Self

from signalexchange.cells import CellError, Row, choice, decimal, flag, text, time
from signalexchange.errors import ConfigError, ExchangeError, MalformedError
from signalexchange.flows import Kind
from signalexchange.tables import SourceError, check_columns, read_table

REQUIRED: Final = frozenset({"id", "time", "customer", "amount"})
COLUMNS: Final = REQUIRED | {"kind", "merchant", "payee", "device", "card", "credit", "limit", "currency"}
MAX_TEXT: Final = 128
MAX_CENTS: Final = 10**14
STANDARD_INPUT: Final = Path("standard input")


class Rejected(ExchangeError):  # noqa: N818 - it is handed out as often as it is raised
    """One row or transaction that is not taken, and why; what comes after it is. Never holds a value.

    `place` is file and row, `column` the file's name of the column ("" where it is the whole row).
    """

    def __init__(self, place: str, column: str, why: str) -> None:
        where = ", ".join(part for part in (place, column and f"column {column}") if part)
        super().__init__(f"{where}: {why}" if where else why)
        self.place = place
        self.column = column
        self.why = why


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction as a member sees it. The readers hold it to the bounds; all of it stays at the member.

    `id`: the member's own, 1 to 128 characters, unique. `time`: event time, Unix seconds. `customer`: the
    member's key of its customer, 1 to 128 characters. `amount`: cents, 1 to 10^14. `merchant`: merchant or
    terminal. `payee`: other side of a transfer, or the payer of money that comes in. `credit`: draws on (a
    refund or repayment: restores) a credit line; `limit`: that line's, cents, 0 where unknown. `place`: file
    and row, for messages; not compared. Texts that are not known are "".
    """

    id: str
    time: int
    customer: str
    amount: int
    kind: Kind = Kind.PURCHASE
    merchant: str = ""
    payee: str = ""
    device: str = ""
    card: str = ""
    credit: bool = False
    limit: int = 0
    place: str = field(default="", compare=False)

    def values(self) -> list[Any]:
        """The fields in their order as plain data, which JSON holds as it is; `restore` reads it."""
        values = list(_fields(self))
        values[_KIND] = int(self.kind)
        return values

    @classmethod
    def restore(cls, values: Any) -> Self:
        """The transaction of `values()`. Raises MalformedError where the types are others."""
        if not isinstance(values, list) or [type(each) for each in values] != _STORED:
            raise MalformedError("not a stored transaction")
        stored = dict(zip(_NAMES, values, strict=True))
        try:
            return cls(**{**stored, "kind": Kind(stored["kind"])})
        except ValueError:
            raise MalformedError("not a stored transaction") from None


_NAMES = [each.name for each in fields(Transaction)]
_KIND = _NAMES.index("kind")
_fields: Callable[[Transaction], tuple[Any, ...]] = attrgetter(*_NAMES)
_STORED: list[Any] = [str, int, str, int, int, str, str, str, str, bool, int, str]


class Columns:
    """How a member's table holds transactions: the names of its columns, its currency and its clock."""

    def __init__(
        self, names: Mapping[str, str] | None = None, currency: str = "CNY", zone: tzinfo | None = None
    ) -> None:
        """`names`: the detector's name → the file's name; what is not in it has the detector's name.
        `currency`: what every amount is in; a column "currency", where there is one, must hold it. `zone`: of
        times without an offset, which are refused without it.

        Raises ConfigError where `names` has a name that is not the detector's.
        """
        mapped = dict(names or {})
        if unknown := sorted(mapped.keys() - COLUMNS):
            known = ", ".join(sorted(COLUMNS))
            raise ConfigError(f"no column {', '.join(unknown)} of transactions can be mapped; known: {known}")
        self._name = {name: mapped.get(name, name) for name in COLUMNS}
        self._all = frozenset(self._name.values())
        self._required = frozenset(self._name[name] for name in REQUIRED)
        self._of_table = self._required | frozenset(mapped.values())
        self._mapped = bool(mapped)
        self._time = _zoned(zone) if zone is not None else time
        self._currency = _only(currency)

    def check(self, path: Path, columns: Iterable[str], row: int | None) -> None:
        """A table must have each column that is required or mapped, a row of JSON Lines those required.

        Raises SourceError.
        """
        if self._mapped:
            columns = self._all.intersection(columns)
        check_columns(path, columns, self._required if row is not None else self._of_table, self._all, row)

    def transaction(self, cells: Mapping[str, Any], place: str) -> Transaction | Rejected:
        """The transaction of one row's cells."""
        row, name = Row(cells), self._name
        try:
            if row.knows(name["currency"]):
                row.get(name["currency"], self._currency)
            return Transaction(
                id=row.get(name["id"], _key),
                time=row.get(name["time"], self._time),
                customer=row.get(name["customer"], _key),
                amount=row.get(name["amount"], _amount),
                kind=row.get_or(name["kind"], _kind, Kind.PURCHASE),
                merchant=row.get_or(name["merchant"], _key, ""),
                payee=row.get_or(name["payee"], _key, ""),
                device=row.get_or(name["device"], _key, ""),
                card=row.get_or(name["card"], _key, ""),
                credit=row.get_or(name["credit"], flag, False),
                limit=row.get_or(name["limit"], _cents, 0),
                place=place,
            )
        except CellError as error:
            return Rejected(place, row.column, str(error))


def read_transactions(path: Path, columns: Columns | None = None) -> Iterator[Transaction | Rejected]:
    """The transactions of a .csv, .jsonl, .ndjson or .parquet file in its order; a bad cell rejects its row
    and reading goes on.

    Raises SourceError where the file can't be read on: a column is missing, or it is not of its form.
    """
    columns = columns if columns is not None else Columns()
    for number, cells in read_table(path, columns.check):
        yield columns.transaction(cells, f"{path}, row {number}")


def parse_line(line: bytes, number: int, columns: Columns | None = None) -> Transaction | Rejected | None:
    """The transaction of line `number` (from 1 on) of JSON Lines on standard input; None of an empty line.

    Whatever is wrong rejects the line alone, a missing column too: a stream has no other rows to blame.
    """
    if not line.strip():
        return None
    columns = columns if columns is not None else Columns()
    place = f"{STANDARD_INPUT}, row {number}"
    try:
        cells = _decode_json(line.decode())
    except (ValueError, RecursionError) as error:
        return Rejected(place, "", "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON")
    if not isinstance(cells, dict):
        return Rejected(place, "", "not a JSON object")
    try:
        columns.check(STANDARD_INPUT, cells, number)
    except SourceError as error:
        return Rejected(place, "", error.why)
    return columns.transaction(cells, place)


_FIFTEEN_DIGITS = Context(prec=15)
_decode_json = json.JSONDecoder(parse_float=Decimal).decode


def _key(value: Any) -> str:
    if len(key := text(value)) > MAX_TEXT:
        raise CellError(f"longer than {MAX_TEXT} characters")
    return key


def _cents(value: Any) -> int:
    # Binary floating point says 60.099999999999994 for five times 12.02, and CSV and JSON repeat it.
    number = _FIFTEEN_DIGITS.plus(decimal(value)) * 100
    cents = int(number)
    if cents != number:
        raise CellError("more than two decimals")
    if cents < 0:
        raise CellError("below 0")
    if cents > MAX_CENTS:
        raise CellError("above 10^12")
    return cents


def _amount(value: Any) -> int:
    if (cents := _cents(value)) == 0:
        raise CellError("must be above 0")
    return cents


def _zoned(zone: tzinfo) -> Callable[[Any], int]:
    """A parser of times that gives those without an offset a zone."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and not value.strip().isdecimal():
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                return time(value)
        if isinstance(value, datetime) and value.tzinfo is None:
            value = value.replace(tzinfo=zone)
        return time(value)

    return parse


def _only(currency: str) -> Callable[[Any], None]:
    """A parser that takes one currency alone, whatever its case."""

    def parse(value: Any) -> None:
        if text(value).upper() != currency.upper():
            raise CellError(f"not {currency}, the configured currency")

    return parse


_kind_number = choice({kind.name.lower(): int(kind) for kind in Kind})


def _kind(value: Any) -> Kind:
    return Kind(_kind_number(value))
