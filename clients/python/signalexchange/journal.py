"""The member's local journal: what leads from a token or a signal back to the member's own reference.

Invariants: a batch, an order, a report or a step is journalled, byte for byte, before it is sent, so that
after a crash the very same bytes are sent again; what was prepared first under an id stays, unless the hub
refused it for good; a batch's signals can be found by id, token and reference from the moment it is prepared.
The file itself is described in `sealed_store`.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

from signalexchange.cases import record_digest
from signalexchange.sealed_store import SealedStore, derive_key, read_key

BATCH_ID_SIZE = 16


class Kind(IntEnum):
    """What a row of the journal holds; never renumbered. 0 is the store's own."""

    BATCH = 1
    ORDER = 2
    SIGNAL = 3
    SUBJECT = 4
    STATE = 5
    REPORT = 6
    STEP = 7
    RECORD = 8


@dataclass(frozen=True, slots=True)
class SignalNote:
    """What the member keeps about one signal it published.

    `tokens` are the look-up tokens of subject, counterparty and links; `record` is the canonical row and
    `salt` the random 32 bytes of the signal's record commitment.
    """

    signal_id: bytes
    batch_id: bytes
    code: str
    reference: str
    tokens: tuple[bytes, ...]
    record: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What the member keeps of a case, and what the hub has of it: SHA-256 of `salt` (32 bytes) ‖ `content`.

    `what` says what it is: "evidence", "explanation", "appeal" or "notice", of which the hub has only the
    text's digest.
    """

    case_id: bytes
    what: str
    salt: bytes
    content: bytes

    @property
    def commitment(self) -> bytes:
        """What stands for it in the signed step, 32 bytes."""
        return record_digest(self.salt, self.content)


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch, an order, a report of outcomes or a step of a case as it was, or is to be, sent, and what
    became of it.

    `kind` is BATCH, ORDER, REPORT or STEP, `request` the serialised request, `state` "prepared",
    "acknowledged" or "refused", `index` and `checkpoint` those of the receipt, `problem` why it was refused.
    """

    kind: Kind
    id: bytes
    request: bytes
    state: str = "prepared"
    index: int | None = None
    checkpoint: bytes = b""
    problem: str = ""


class Journal:
    """An open journal. Methods may be called from any thread and from several processes; each is one
    transaction.

    They raise JournalError where the file can't be read or written, VerificationError where it was altered.
    """

    def __init__(self, path: Path, key_path: Path) -> None:
        """Open or create the journal at `path`; raises ConfigError, or VerificationError for a wrong key."""
        secret = read_key(key_path)
        self._batch_ids = derive_key(secret, "signalexchange/journal/batch-ids/v1")
        self._store = SealedStore(path, secret)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batch_id(self, records: Iterable[bytes]) -> bytes:
        """The 16-byte id of a batch of canonical rows: the same rows give the same id under the same
        journal key.

        HMAC-SHA256 over each row preceded by its length (8 bytes, big endian), truncated. It is keyed
        because the hub sees the id: a plain hash would let it test guesses of an identifier.
        """
        digest = hmac.new(self._batch_ids, digestmod="sha256")
        for record in records:
            digest.update(len(record).to_bytes(8, "big") + record)
        return digest.digest()[:BATCH_ID_SIZE]

    def prepare(self, kind: Kind, id_: bytes, request: bytes, signals: Sequence[SignalNote] = ()) -> Sent:
        """Keep a batch, an order or a report, with its signals' notes, before it is sent for the first time.

        Returns what is to be sent: another process may have prepared the same id meanwhile, and its bytes
        stay.
        """
        with self._store.transaction():
            found = self._store.get(kind, id_)
            if found is not None and found[0]["state"] != "refused":
                return _sent(kind, *found)
            sent = Sent(kind, id_, request)
            self._put_sent(sent)
            for note in signals:
                position = self._store.put(Kind.SIGNAL, note.signal_id, _note_fields(note))
                for token in note.tokens:
                    self._store.link(b"token" + token, position)
                self._store.link(b"reference" + note.reference.encode(), position)
        return sent

    def prepare_step(
        self, id_: bytes, request: bytes, case_id: bytes, records: Iterable[Record] = ()
    ) -> Sent:
        """Keep a step of a case, with the records that it commits to, before it is sent for the first
        time."""
        sent = Sent(Kind.STEP, id_, request)
        with self._store.transaction():
            self._store.link(b"case" + case_id, self._put_sent(sent))
            for record in records:
                fields = {"case": case_id.hex(), "what": record.what, "salt": record.salt.hex()}
                position = self._store.put(Kind.RECORD, record.commitment, fields, record.content)
                self._store.link(b"case" + case_id, position)
                self._store.link(b"step" + id_, position)
        return sent

    def steps(self, case_id: bytes) -> list[Sent]:
        """The steps of a case that were prepared here, oldest first."""
        rows = self._store.linked(b"case" + case_id)
        return [_sent(*row) for row in rows if row[0] == Kind.STEP]

    def records(self, case_id: bytes) -> list[Record]:
        """What was written down in a case, oldest first."""
        rows = self._store.linked(b"case" + case_id)
        return [_record(fields, content) for kind, fields, content in rows if kind == Kind.RECORD]

    def forget_case(self, case_id: bytes) -> int:
        """Delete what is kept of a case, its steps and records; how many there were."""
        with self._store.transaction():
            steps, records = self.steps(case_id), self.records(case_id)
            for step in steps:
                self._store.delete(Kind.STEP, step.id)
            for record in records:
                self._store.delete(Kind.RECORD, record.commitment)
        return len(steps) + len(records)

    def acknowledge(self, sent: Sent, index: int, checkpoint: bytes) -> Sent:
        """Keep the receipt of what was prepared."""
        done = replace(sent, state="acknowledged", index=index, checkpoint=checkpoint, problem="")
        with self._store.transaction():
            self._put_sent(done)
        return done

    def refuse(self, sent: Sent, problem: str, signal_ids: Iterable[bytes] = ()) -> None:
        """Note that something was refused for good: it is not sent again as it is.

        `signal_ids` are a batch's signals, which never came to be; their notes go, and a step's records.
        """
        with self._store.transaction():
            self._put_sent(replace(sent, state="refused", index=None, checkpoint=b"", problem=problem))
            for signal_id in signal_ids:
                self._store.delete(Kind.SIGNAL, signal_id)
            for _, fields, content in self._store.linked(b"step" + sent.id):
                refused = _record(fields, content)
                self._store.delete(Kind.RECORD, refused.commitment)

    def sent(self, kind: Kind, id_: bytes) -> Sent | None:
        """The batch, order, report or step of that id."""
        found = self._store.get(kind, id_)
        return None if found is None else _sent(kind, *found)

    def pending(self) -> list[Sent]:
        """What was prepared and whose fate is unknown, oldest first."""
        return [_sent(*row) for row in self._store.pending()]

    def history(self, kind: Kind) -> Iterator[Sent]:
        """Everything of a kind that was prepared, oldest first."""
        return (_sent(*row) for row in self._store.scan(kind))

    def signal(self, signal_id: bytes) -> SignalNote | None:
        """What is kept about a signal of the member's own."""
        found = self._store.get(Kind.SIGNAL, signal_id)
        return None if found is None else _note(found[0])

    def signals(self) -> Iterator[SignalNote]:
        """Every signal of the member's own, oldest first."""
        return (_note(fields) for _, fields, _ in self._store.scan(Kind.SIGNAL))

    def signals_about(self, token: bytes) -> list[SignalNote]:
        """The member's own signals that name this token."""
        return [
            _note(fields) for kind, fields, _ in self._store.linked(b"token" + token) if kind == Kind.SIGNAL
        ]

    def signals_of(self, reference: str) -> list[SignalNote]:
        """The member's own signals published under this reference."""
        rows = self._store.linked(b"reference" + reference.encode())
        return [_note(fields) for kind, fields, _ in rows if kind == Kind.SIGNAL]

    def remember(self, references: Mapping[bytes, Iterable[str]]) -> None:
        """Keep which references of the member's own stand behind tokens it asks about or subscribes to."""
        with self._store.transaction():
            for token, own in references.items():
                for reference in own:
                    name = token + reference.encode()
                    position = self._store.put(
                        Kind.SUBJECT, name, {"token": token.hex(), "reference": reference}
                    )
                    self._store.link(b"token" + token, position)
                    self._store.link(b"reference" + reference.encode(), position)

    def references(self, token: bytes) -> list[str]:
        """Every reference of the member's own behind a token, each once, oldest first."""
        return list(
            dict.fromkeys(fields["reference"] for _, fields, _ in self._store.linked(b"token" + token))
        )

    def tokens(self, reference: str) -> list[bytes]:
        """Every token the member asked about or published under a reference of its own, each once."""
        rows = self._store.linked(b"reference" + reference.encode())
        found = [fields["tokens"] if kind == Kind.SIGNAL else [fields["token"]] for kind, fields, _ in rows]
        return [
            bytes.fromhex(token) for token in dict.fromkeys(token for tokens in found for token in tokens)
        ]

    def state(self, name: str) -> bytes | None:
        """A single value kept under a name, such as the newest checkpoint or a resume token."""
        found = self._store.get(Kind.STATE, name.encode())
        return None if found is None else found[1]

    def set_state(self, name: str, value: bytes) -> None:
        """Keep a single value."""
        with self._store.transaction():
            self._store.put(Kind.STATE, name.encode(), {}, value)

    def drop_state(self, name: str) -> None:
        """Forget a single value, if it is kept."""
        with self._store.transaction():
            self._store.delete(Kind.STATE, name.encode())

    def _put_sent(self, sent: Sent) -> int:
        fields = {"id": sent.id.hex(), "state": sent.state, "index": sent.index, "problem": sent.problem}
        fields["checkpoint"] = sent.checkpoint.hex()
        return self._store.put(sent.kind, sent.id, fields, sent.request, pending=sent.state == "prepared")


def _sent(kind: int, fields: Mapping[str, Any], request: bytes) -> Sent:
    return Sent(
        Kind(kind),
        bytes.fromhex(fields["id"]),
        request,
        fields["state"],
        fields["index"],
        bytes.fromhex(fields["checkpoint"]),
        fields["problem"],
    )


def _record(fields: Mapping[str, Any], content: bytes) -> Record:
    return Record(bytes.fromhex(fields["case"]), fields["what"], bytes.fromhex(fields["salt"]), content)


def _note_fields(note: SignalNote) -> dict[str, Any]:
    return {
        "signal_id": note.signal_id.hex(),
        "batch_id": note.batch_id.hex(),
        "code": note.code,
        "reference": note.reference,
        "tokens": [token.hex() for token in note.tokens],
        "record": note.record.hex(),
        "salt": note.salt.hex(),
    }


def _note(fields: Mapping[str, Any]) -> SignalNote:
    return SignalNote(
        bytes.fromhex(fields["signal_id"]),
        bytes.fromhex(fields["batch_id"]),
        fields["code"],
        fields["reference"],
        tuple(map(bytes.fromhex, fields["tokens"])),
        bytes.fromhex(fields["record"]),
        bytes.fromhex(fields["salt"]),
    )
