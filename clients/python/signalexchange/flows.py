"""Movements of money as one member sees them: payer → payee, and readers of files of them, one a row.

Invariants: a flow is never to oneself and its amount is positive; nothing of a flow leaves the member but in
signals that its gate makes (signalexchange.gate); errors name file, row and column and never hold a cell's
value.

Columns, required: time (Unix seconds or ISO 8601 with an offset), payer, payee, amount (CNY). The types of
payer and payee stand in columns payer_type and payee_type or are the same for the whole file. Optional: kind
(purchase, transfer, refund, repayment), refund (true: merchant → customer), credit (a purchase or refund on a
credit line of this member), limit (that line's, CNY), order, logistics (moved, none, empty: what an order's
delivery showed when it was refunded), device and address of the customer, payer_links and payee_links (what
else this member knows of its own customer: "type:value;type:value"), reference (default: file and row).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

from signalexchange.cells import (
    CellError,
    Row,
    choice,
    decimal,
    flag,
    identifier_type,
    links,
    subject,
    text,
    time,
)
from signalexchange.errors import InvalidIdentifierError
from signalexchange.signals import Subject
from signalexchange.tables import SourceError, check_columns, read_table
from signalexchange.v1.identifier_pb2 import IdentifierType

REQUIRED = frozenset({"time", "payer", "payee", "amount"})
COLUMNS = REQUIRED | {
    "payer_type", "payee_type", "kind", "refund", "credit", "limit", "order", "logistics", "device",
    "address", "payer_links", "payee_links", "reference",
}  # fmt: skip
WEAK_TYPES = frozenset({IdentifierType.IDENTIFIER_TYPE_DEVICE, IdentifierType.IDENTIFIER_TYPE_ADDRESS})
"""What people share: never an end of a flow, and never by itself the same person."""
MERCHANT = IdentifierType.IDENTIFIER_TYPE_MERCHANT


class Kind(IntEnum):
    """What a flow is for."""

    PURCHASE = 1
    TRANSFER = 2
    REFUND = 3
    """Money goes from the merchant back to the customer."""
    REPAYMENT = 4
    """The customer pays back this member's credit line; the payee is the member."""


class Logistics(IntEnum):
    """What an order's delivery showed when it was refunded."""

    MOVED = 1
    NONE = 2
    EMPTY = 3
    """A tracking number of an empty parcel."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One movement of money. `time` is Unix seconds, `amount` and `limit` CNY above 0.

    `device` and `address` are the customer's: the payer's, of a refund the payee's. `order`, `reference` and
    `place` (file and row, for messages) are the member's own and never leave it.
    """

    time: int
    payer: Subject
    payee: Subject
    amount: Decimal
    kind: Kind
    credit: bool = False
    limit: Decimal | None = None
    order: str = field(default="", repr=False)
    logistics: Logistics | None = None
    device: Subject | None = None
    address: Subject | None = None
    payer_links: tuple[Subject, ...] = ()
    payee_links: tuple[Subject, ...] = ()
    reference: str = field(default="", repr=False)
    place: str = field(default="", compare=False)

    @property
    def customer(self) -> Subject:
        """Whose device and address the flow's are."""
        return self.payee if self.kind is Kind.REFUND else self.payer


def in_order(flows: Iterable[Flow]) -> list[Flow]:
    """Flows by time; those of one time by their content, so that their order in a file decides nothing."""
    return sorted(flows, key=_order)


def read_flows(
    path: Path, payer_type: int | None = None, payee_type: int | None = None
) -> Iterator[Flow | SourceError]:
    """The flows of a .csv, .jsonl, .ndjson or .parquet file, where a bad row is its SourceError and reading
    goes on.

    `payer_type` and `payee_type` are IdentifierTypes of whole columns, in place of columns of that name.
    Raises SourceError where the file itself can't be read on.
    """
    check = partial(_check_columns, types={"payer_type": payer_type, "payee_type": payee_type})
    for number, cells in read_table(path, check):
        row = Row(cells)
        try:
            flow: Flow | SourceError = _flow(path, number, row, payer_type, payee_type)
        except (CellError, InvalidIdentifierError) as error:
            flow = SourceError(path, number, row.column, str(error))
        yield flow


def read_shared(path: Path) -> list[Subject]:
    """Values that a member knows many unrelated people to share: a .csv, .jsonl, .ndjson or .parquet file
    with columns type and value. Raises SourceError.
    """
    columns = frozenset({"type", "value"})
    shared = []
    for number, cells in read_table(path, lambda *found: _only(columns, *found)):
        row = Row(cells)
        try:
            shared.append(row.get("value", subject(row.get("type", identifier_type))))
        except (CellError, InvalidIdentifierError) as error:
            raise SourceError(path, number, row.column, str(error)) from None
    return shared


def _only(wanted: frozenset[str], path: Path, columns: Iterable[str], row: int | None) -> None:
    check_columns(path, columns, wanted, wanted, row)


def _check_columns(
    path: Path, columns: Iterable[str], row: int | None, types: Mapping[str, int | None]
) -> None:
    present = check_columns(path, columns, REQUIRED, COLUMNS, row)
    for column, type_ in types.items():
        if (column in present) == (type_ is not None):
            end = column.removesuffix("_type")
            why = "is given twice" if type_ is not None else "is missing"
            raise SourceError(path, row, column, f"the type of {end} {why}: a column, or --type {end}=TYPE")


def _flow(path: Path, number: int, row: Row, payer_type: int | None, payee_type: int | None) -> Flow:
    payer = row.get("payer", subject(payer_type or row.get("payer_type", _end_type)))
    payee = row.get("payee", subject(payee_type or row.get("payee_type", _end_type)))
    if payer == payee:
        raise CellError("is the payer: a flow to oneself moves nothing")
    kind = _kind(row, payee)
    on_credit = kind in (Kind.PURCHASE, Kind.REFUND)
    return Flow(
        time=row.get("time", time),
        payer=payer,
        payee=payee,
        amount=row.get("amount", _amount),
        kind=kind,
        credit=row.get_or("credit", flag, on_credit and not row.knows("credit")),
        limit=row.get("limit", _amount) if row.has("limit") else None,
        order=row.get_or("order", text, ""),
        logistics=Logistics(row.get("logistics", _logistics)) if row.has("logistics") else None,
        device=row.get("device", _device) if row.has("device") else None,
        address=row.get("address", _address) if row.has("address") else None,
        payer_links=row.get("payer_links", links) if row.has("payer_links") else (),
        payee_links=row.get("payee_links", links) if row.has("payee_links") else (),
        reference=row.get_or("reference", text, f"{path.name}:{number}"),
        place=f"{path}, row {number}",
    )


def _kind(row: Row, payee: Subject) -> Kind:
    refund = row.get_or("refund", flag, False)
    if row.has("kind"):
        kind = Kind(row.get("kind", _kind_name))
        if refund and kind is not Kind.REFUND:
            raise CellError("must be refund where the refund marker is set")
        return kind
    return Kind.REFUND if refund else Kind.PURCHASE if payee.type == MERCHANT else Kind.TRANSFER


def _order(flow: Flow) -> tuple[object, ...]:
    ends = (flow.payer.type, flow.payer.value, flow.payee.type, flow.payee.value)
    rest = (flow.kind, flow.credit, flow.limit or 0, flow.order, flow.logistics or 0)
    known = tuple(
        (each.type, each.value)
        for each in (flow.device, flow.address, *flow.payer_links, *flow.payee_links)
        if each is not None
    )
    return flow.time, *ends, flow.amount, *rest, known, flow.reference


def _end_type(value: Any) -> int:
    if (type_ := identifier_type(value)) in WEAK_TYPES:
        raise CellError("people share it: money goes from and to an account, a card, a person or a merchant")
    return type_


def _amount(value: Any) -> Decimal:
    if (amount := decimal(value)) <= 0:
        raise CellError("must be above 0")
    return amount


_kind_name = choice({kind.name.lower(): int(kind) for kind in Kind})
_logistics = choice({each.name.lower(): int(each) for each in Logistics})
_device = subject(IdentifierType.IDENTIFIER_TYPE_DEVICE)
_address = subject(IdentifierType.IDENTIFIER_TYPE_ADDRESS)
