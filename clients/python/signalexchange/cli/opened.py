"""Opened entries of the log as people read them: statements parsed, enums by name, bytes as digits."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from signalexchange import disclosures
from signalexchange.cases import parse_corrections, parse_step
from signalexchange.envelope import parse_statement
from signalexchange.outcomes import parse_outcomes
from signalexchange.v1.disclosure_service_pb2 import (
    DisclosureDecisionStatement,
    DisclosureReceiptStatement,
    DisclosureRequestStatement,
    DisclosureWithdrawalStatement,
)
from signalexchange.v1.log_entry_pb2 import (
    BatchEntry,
    CaseEntry,
    CorrectionsEntry,
    DisclosureDecisionEntry,
    DisclosureReceiptEntry,
    DisclosureRequestEntry,
    DisclosureWithdrawalEntry,
    OutcomesEntry,
    RosterEntry,
)

_STATEMENTS: Final[Mapping[type[Message], Callable[[bytes], Message]]] = {
    BatchEntry: parse_statement,
    OutcomesEntry: parse_outcomes,
    CaseEntry: parse_step,
    CorrectionsEntry: parse_corrections,
    DisclosureRequestEntry: partial(disclosures.parse_statement, DisclosureRequestStatement),
    DisclosureDecisionEntry: partial(disclosures.parse_statement, DisclosureDecisionStatement),
    DisclosureReceiptEntry: partial(disclosures.parse_statement, DisclosureReceiptStatement),
    DisclosureWithdrawalEntry: partial(disclosures.parse_statement, DisclosureWithdrawalStatement),
}
"""What reads the field `statement` of an entry."""


def fields(message: Message) -> dict[str, Any]:
    """The fields that are set, and every yes or no, as a no is not set.

    Raises MalformedError for a statement that can't be read.
    """
    found = {
        field.name: False
        for field in message.DESCRIPTOR.fields
        if field.type == FieldDescriptor.TYPE_BOOL and not field.has_presence
    }
    return found | {field.name: _value(message, field, value) for field, value in message.ListFields()}


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Rows of a table: a field within another is named by both, as in `statement.reason`."""
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            for number, each in enumerate(value):
                yield from flat(each, f"{prefix}{name}.{number}.")
        elif isinstance(value, list):
            yield prefix + name, ", ".join(map(str, value))
        else:  # a step such as `lift` has no fields
            yield prefix + name, "yes" if value == {} else value


def _value(message: Message, field: FieldDescriptor, value: Any) -> Any:
    if field.name == "statement" and type(message) in _STATEMENTS:
        return fields(_STATEMENTS[type(message)](value))
    if isinstance(message, RosterEntry):
        return value.decode()
    if isinstance(value, Message | bytes | str | int):
        return _plain(field, value)
    return [_plain(field, each) for each in value]


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return fields(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None and (name := field.enum_type.values_by_number.get(value)) is not None:
        return name.name
    return value
