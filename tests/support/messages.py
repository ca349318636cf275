"""Messages that nobody would send: strategies for any message of a kind, and mutations of good bytes."""

import random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from signalexchange.v1.signal_pb2 import BatchStatement, Signal, WithdrawalStatement

# Numbers at the edges of what fields, databases and clocks hold.
EDGES: Final = (
    0,
    1,
    2,
    255,
    256,
    299,
    300,
    1000,
    1001,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**64 - 1,
)
TEXTS: Final = st.one_of(
    st.sampled_from(
        ["", "transaction-screening", "bank-north", "operator", "cash-out-suspected", "' OR 1=1 --", "\0"]
    ),
    st.text(max_size=40),
)
BYTES: Final = st.one_of(
    st.binary(max_size=70), st.sampled_from([16, 32, 64]).flatmap(lambda n: st.binary(min_size=n, max_size=n))
)
_RANGES: Final = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}


@st.composite
def message(draw: st.DrawFn, kind: type[Message]) -> Message:
    """Any message of the kind, its fields more often like what they should hold than chance would have it."""
    made = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.is_repeated:
            getattr(made, field.name).extend(draw(_value(field)) for _ in range(draw(st.integers(0, 4))))
        elif draw(st.booleans()):
            value = draw(_value(field))
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                getattr(made, field.name).CopyFrom(value)
            else:
                setattr(made, field.name, value)
    return made


def _value(field: Any) -> st.SearchStrategy[Any]:
    # Serialised messages inside a request: these are parsed by the hub, too.
    inner = {
        ("PublishSignalsRequest", "statement"): BatchStatement,
        ("WithdrawSignalsRequest", "statement"): WithdrawalStatement,
        ("SignalEnvelope", "signal"): Signal,
    }.get((field.containing_type.name, field.name))
    if inner is not None:
        return st.one_of(message(inner).map(lambda each: each.SerializeToString()), BYTES)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return TEXTS
        case FieldDescriptor.TYPE_BYTES:
            return BYTES
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_ENUM:
            return st.one_of(st.integers(0, 10), st.sampled_from([-1, 2**31 - 1, -(2**31)]))
        case FieldDescriptor.TYPE_MESSAGE:
            return message(GetMessageClass(field.message_type))
        case type_:
            low, high = _RANGES[type_]
            edges = [each for each in (*EDGES, -1, -(2**63)) if low <= each <= high]
            return st.one_of(st.sampled_from(edges), st.integers(low, high))


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few changes of the kinds that break parsers: flipped, cut, doubled, put in."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randrange(1, 8)]
            case 2:
                changed[at:at] = chance.randbytes(chance.randrange(1, 6))
            case 3:
                changed[at:at] = changed[at : at + 40]
            case _:
                changed[at : at + 1] = chance.choice((b"\xff", b"\x80", b"\x00", b"\x7f"))
    return bytes(changed)
