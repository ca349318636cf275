"""A log in memory as an honest hub would keep it, with everything an auditor could collect of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from google.protobuf.message import Message
from signalexchange import envelope, merkle
from signalexchange.checkpoint import Checkpoint, sign_checkpoint
from signalexchange.entries import make_leaf
from signalexchange.evidence import EvidenceFolder, HeldReceipt, Opening
from signalexchange.note import Signer
from signalexchange.outcomes import sign_outcomes
from signalexchange.v1.log_entry_pb2 import (
    AccessEntry,
    BatchEntry,
    EntryHeader,
    EntryType,
    MatchDeliveryEntry,
    MatchEntry,
    ModelEntry,
    OutcomesEntry,
    OutcomeTally,
    RosterEntry,
    SignalPosition,
    WithdrawalEntry,
)
from signalexchange.v1.outcome_service_pb2 import Outcome, Verdict
from signalexchange.v1.signal_pb2 import WithdrawalReason
from signalexchange.v1.signal_service_pb2 import PublishSignalsRequest

from tests.support.rosters import ORIGIN, RULEBOOK, START, Rosters, private_key, signer


@dataclass
class Log:
    """Entries with their openings; the first is roster version 1."""

    rosters: Rosters = field(default_factory=Rosters)
    leaves: list[bytes] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    receipts: list[HeldReceipt] = field(default_factory=list)
    signer: Signer = field(default_factory=lambda: signer(ORIGIN))

    def __post_init__(self) -> None:
        self.roster(self.rosters.chain.versions[0][0])

    @property
    def size(self) -> int:
        return len(self.leaves)

    def checkpoint(self, size: int | None = None) -> bytes:
        size = self.size if size is None else size
        root = merkle.root([merkle.leaf_hash(leaf) for leaf in self.leaves[:size]])
        return sign_checkpoint(Checkpoint(ORIGIN, size, root), self.signer)

    def append(self, entry_type: EntryType.ValueType, member: str, payload: Message) -> int:
        index = self.size
        header = EntryHeader(type=entry_type, member=member, time=START + index).SerializeToString()
        openings = [sha256(f"{what} opening {index}".encode()).digest() for what in ("header", "payload")]
        content = payload.SerializeToString()
        self.leaves.append(make_leaf(header, openings[0], content, openings[1]))
        self.openings.append(
            Opening(
                index=index,
                header=header,
                header_opening=openings[0],
                payload=content,
                payload_opening=openings[1],
            )
        )
        return index

    def roster(self, note: bytes) -> int:
        return self.append(EntryType.ENTRY_TYPE_ROSTER, "operator", RosterEntry(note=note))

    def batch(
        self, signals: Sequence[bytes], member: str = "bank-a", key: str | None = None
    ) -> tuple[int, PublishSignalsRequest]:
        request = envelope.sign_batch(
            signals,
            origin=ORIGIN,
            member=member,
            key_id="k1",
            batch_id=sha256(b"batch %d" % self.size).digest()[:16],
            epoch=1,
            sign=private_key(key or member).sign,
            nonces=[sha256(b"nonce %d %d" % (self.size, place)).digest() for place in range(len(signals))],
        )
        entry = BatchEntry(statement=request.statement, signature=request.signature)
        index = self.append(EntryType.ENTRY_TYPE_BATCH, member, entry)
        self.receipt(index, request.statement)
        return index, request

    def withdrawal(self, positions: Sequence[tuple[int, int]], member: str = "bank-a") -> int:
        request = envelope.sign_withdrawal(
            [sha256(b"signal %d %d" % place).digest()[:16] for place in positions],
            origin=ORIGIN,
            member=member,
            key_id="k1",
            order_id=bytes(16),
            reason=WithdrawalReason.WITHDRAWAL_REASON_REFUTED,
            sign=private_key(member).sign,
        )
        entry = WithdrawalEntry(
            statement_digest=sha256(request.statement).digest(),
            signature=request.signature,
            positions=[SignalPosition(index=index, position=place) for index, place in positions],
        )
        index = self.append(EntryType.ENTRY_TYPE_WITHDRAWAL, member, entry)
        self.receipt(index, request.statement)
        return index

    def outcomes(
        self,
        verdicts: Mapping[bytes, Verdict.ValueType],
        member: str = "bank-b",
        *,
        key: str | None = None,
        report_id: bytes = bytes(16),
    ) -> int:
        request = sign_outcomes(
            [Outcome(signal_id=id_, verdict=verdict) for id_, verdict in verdicts.items()],
            origin=ORIGIN,
            member=member,
            key_id="k1",
            report_id=report_id,
            sign=private_key(key or member).sign,
        )
        entry = OutcomesEntry(statement=request.statement, signature=request.signature)
        index = self.append(EntryType.ENTRY_TYPE_OUTCOMES, member, entry)
        self.receipt(index, request.statement)
        return index

    def match(self, evidence: Sequence[tuple[int, int]], *, status: int = 1, as_of: int | None = None) -> int:
        entry = MatchEntry(
            match_id=bytes(16),
            pattern=1,
            status=status,
            confidence=900,
            rules_version="patterns-1",
            as_of=self.size if as_of is None else as_of,
            evidence=[SignalPosition(index=index, position=place) for index, place in evidence],
        )
        return self.append(EntryType.ENTRY_TYPE_MATCH, "", entry)

    def version(self, version: int, *, as_of: int = 0, rulebook: bytes | None = None) -> int:
        entry = ModelEntry(
            version=version,
            model="additive-2",
            rulebook_digest=rulebook or bytes.fromhex(self.rosters.chain.current.rulebook_sha256),
            tallies=[OutcomeTally(issuer="bank-a", code="mule-account", reporter="shop", refuted=version)],
            as_of=as_of,
        )
        return self.append(EntryType.ENTRY_TYPE_MODEL, "", entry)

    def match_delivery(self, member: str) -> int:
        entry = MatchDeliveryEntry(match_id=bytes(16), digest=bytes(32), subjects=bytes(32))
        return self.append(EntryType.ENTRY_TYPE_MATCH_DELIVERY, member, entry)

    def look_up(self, member: str = "shop", learned: int | None = None) -> int:
        entry = AccessEntry(
            purpose="authorise-payment",
            type=1,  # type: ignore[arg-type]
            epoch=1,
            asked=3,
            hits=bytes(32),
            request_digest=bytes(32),
            answer_digest=bytes(32),
        )
        if learned is not None:
            entry.scores.append(500)
            entry.advice.append(2)
            entry.learned = learned
        return self.append(EntryType.ENTRY_TYPE_LOOK_UP, member, entry)

    def receipt(self, index: int, statement: bytes) -> HeldReceipt:
        receipt = HeldReceipt(index=index, checkpoint=self.checkpoint(), statement=statement)
        self.receipts.append(receipt)
        return receipt

    def collect(self, folder: Path) -> EvidenceFolder:
        """Everything there is, as a thorough auditor collects it; calling it again adds what is new."""
        evidence = EvidenceFolder(folder)
        for version, (note, _) in enumerate(self.rosters.chain.versions, 1):
            evidence.add_roster(version, note)
        evidence.set_rulebook(RULEBOOK)
        start = evidence.size
        evidence.append_leaves(self.leaves[start:])
        evidence.add_checkpoint(self.checkpoint())
        evidence.add_openings(self.openings[start:])
        for receipt in self.receipts:
            evidence.add_receipt(receipt)
        return evidence


def filled_log() -> Log:
    """A log with one of each that the tests look at: rosters, batches, a withdrawal, look-ups."""
    log = Log()
    log.batch([b"signal one", b"signal two", b"signal three"])
    log.look_up()
    log.batch([b"another"], "bank-b")
    log.withdrawal([(1, 0), (1, 2)])
    log.roster(log.rosters.extend(log.rosters.next_document()))
    log.batch([b"after the second roster"], "shop")
    return log
