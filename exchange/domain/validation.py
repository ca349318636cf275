"""What a request must be like: every rule of the contract and the rulebook that needs no look at stored
state.

Invariants: a batch is judged whole: all violations are counted, each named by index and field, none quotes
a value; a signal that passes has exactly one encoding's length and no unknown field. Times are Unix seconds
cut to five minutes.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from google.protobuf.message import DecodeError
from signalexchange.envelope import MAX_SIGNAL_SIZE, NONCE_SIZE
from signalexchange.roster import Party
from signalexchange.rulebook import ACTIONS, MAX_BATCH, Code, Purpose, Rulebook, audience_mask
from signalexchange.v1.error_reason_pb2 import ErrorReason
from signalexchange.v1.identifier_pb2 import PartyKind, SubjectToken
from signalexchange.v1.signal_pb2 import BatchStatement, Signal, SignalEnvelope

from exchange.domain.matching.observation import Role
from exchange.domain.records import Link, NewSignal, place
from exchange.domain.refusal import Refusal, invalid

TOKEN_SIZE: Final = 32
SLOT: Final = 300
DAY: Final = 86_400
MAX_LINKS: Final = 8
MAX_SEALED: Final = 4352
MAX_BAND: Final = 255
MAX_TIME: Final = 2**53

EpochValid = Callable[[int, int], bool]
"""(IdentifierType, epoch) → whether its tokens are accepted now."""

_INVALID: Final = ErrorReason.ERROR_REASON_INVALID_REQUEST
_CODE: Final = ErrorReason.ERROR_REASON_CODE_NOT_ALLOWED
_EPOCH: Final = ErrorReason.ERROR_REASON_EPOCH_NOT_VALID
_MESSAGES: Final = {
    _INVALID: "the request breaks the contract",
    _CODE: "the rulebook does not allow this code to this kind of member",
    _EPOCH: "no valid key manifest covers this identifier type and epoch",
}
_MEMBER_KINDS: Final = frozenset(
    {PartyKind.PARTY_KIND_BANK, PartyKind.PARTY_KIND_ECOMMERCE, PartyKind.PARTY_KIND_PAYMENT_PROVIDER}
)


class ValidSignal:
    """A signal that passed, with what is stored of it: `role` is what it is to matching, `searched` says
    whether look-ups find it, `measure` is the Action that it tells of, 0 for none. What is for some kinds of
    members alone isn't joined with others' signals: a match tells every kind."""

    __slots__ = ("_links_subjects", "body", "links", "measure", "message", "nonce", "role", "searched")

    def __init__(self, message: Signal, nonce: bytes, body: bytes, rule: Code | None) -> None:
        self.message = message
        self.nonce = nonce
        self.body = body
        self.links: list[bytes] = [link.value for link in message.links]
        role = Role[rule.role.upper()] if rule is not None else Role.NONE
        self.role = Role.NONE if message.audience else role
        self._links_subjects = role == Role.LINK
        self.searched = rule is not None and rule.is_searched
        self.measure = 0 if rule is None or rule.measure == "none" else int(ACTIONS[rule.measure])

    @property
    def joins(self) -> bool:
        """Whether look-ups follow its links: they do where it is found itself, or says nothing else."""
        return bool(self.links) and (self.searched or self._links_subjects)

    @property
    def ends(self) -> tuple[bytes, ...]:
        """Subject and, where there is one, counterparty."""
        message = self.message
        if message.HasField("counterparty"):
            return message.subject.value, message.counterparty.value
        return (message.subject.value,)

    def link_rows(self, at: int, issuer: str) -> list[Link]:
        """Its links at its place, both ways: whoever asks for either token finds the issuer's signals on the
        other."""
        message = self.message
        audience = audience_mask(tuple(message.audience))
        return [
            Link(
                token.value,
                token.type,
                token.epoch,
                other.value,
                issuer,
                audience,
                message.tlp,
                at,
                message.expires_at,
            )
            for link in message.links
            for token, other in ((link, message.subject), (message.subject, link))
        ]

    def row(self, entry: int, position: int, issuer: str, echo: bool) -> NewSignal:
        """The row of the signal at its place in the log; `echo` says that its issuer's group had been shown
        a hit on it."""
        message = self.message
        subject = message.subject
        audience = 0
        for kind in message.audience:
            audience |= 1 << kind
        return NewSignal(
            place(entry, position),
            message.signal_id,
            issuer,
            subject.value,
            subject.type,
            subject.epoch,
            message.code,
            audience,
            message.confidence,
            message.grade,
            message.tlp,
            message.last_seen,
            message.expires_at,
            self.nonce,
            self.body,
            self.role,
            self.searched,
            echo,
        )


class BatchValidator:
    """Judges the signals of one batch of one member at one time, in order; then `finish` refuses or
    doesn't."""

    def __init__(
        self, party: Party, statement: BatchStatement, rulebook: Rulebook, epoch_valid: EpochValid, now: int
    ) -> None:
        self._party = party
        self._epoch = statement.epoch
        self._rulebook = rulebook
        self._epoch_valid = epoch_valid
        self._epochs: dict[tuple[int, int], bool] = {}
        self._now = now
        self._ids: set[bytes] = set()
        self._found: list[tuple[str, str]] = []
        self._reasons: set[ErrorReason.ValueType] = set()
        self._total = 0
        self._index = 0
        self.signals: list[ValidSignal] = []

    def add(self, envelope: SignalEnvelope) -> None:
        """Judge the next signal."""
        nonce, body = envelope.nonce, envelope.signal
        if len(nonce) != NONCE_SIZE:
            self._no("nonce", "must have 32 bytes")
        if not 1 <= len(body) <= MAX_SIGNAL_SIZE:
            self._no("signal", f"must have 1 to {MAX_SIGNAL_SIZE} bytes")
        else:
            try:
                message = Signal.FromString(body)
            except DecodeError:
                self._no("signal", "is not a Signal")
            else:
                rule = self._rulebook.code(message.code)
                self._check(message, len(body), rule)
                self.signals.append(ValidSignal(message, nonce, body, rule))
        self._index += 1

    def finish(self) -> None:
        """Raise the Refusal of the whole batch if any signal had a violation."""
        if not self._total:
            return
        reason = next(iter(self._reasons)) if len(self._reasons) == 1 else _INVALID
        raise Refusal(reason, _MESSAGES[reason], violations=self._found, total=self._total)

    def _no(self, field: str, description: str, reason: ErrorReason.ValueType = _INVALID) -> None:
        self._total += 1
        self._reasons.add(reason)
        if len(self._found) < 32:
            self._found.append((f"signals[{self._index}].{field}", description))

    def _check(self, signal: Signal, size: int, rule: Code | None) -> None:
        signal.DiscardUnknownFields()
        if signal.ByteSize() != size:
            self._no("signal", "has unknown fields or is not encoded minimally")
        signal_id = signal.signal_id
        if len(signal_id) != 16:
            self._no("signal_id", "must have 16 bytes")
        elif signal_id in self._ids:
            self._no("signal_id", "stands twice in the batch")
        else:
            self._ids.add(signal_id)
        self._check_subjects(signal, rule)
        if rule is None:
            self._no("code", "is not a code of the rulebook")
        else:
            self._check_code(signal, rule)
        self._check_times(signal, rule)
        if signal.amount_band > MAX_BAND:
            self._no("amount_band", "must be at most 255")
        if signal.confidence > 100:
            self._no("confidence", "must be at most 100")
        if not 1 <= signal.grade <= 3:
            self._no("grade", "must be specified")
        if not 1 <= signal.tlp <= 4:
            self._no("tlp", "must be specified")
        if signal.audience and not _MEMBER_KINDS.issuperset(signal.audience):
            self._no("audience", "must name kinds of members")
        elif signal.audience and rule is not None and not rule.is_searched and rule.role != "link":
            self._no("audience", "must be empty: the code is for matching, which tells every kind")
        if not 1 <= signal.legal_basis <= 4:
            self._no("legal_basis", "must be specified")
        if len(signal.record_commitment) != 32:
            self._no("record_commitment", "must have 32 bytes")
        if len(signal.sealed_detail) > MAX_SEALED:
            self._no("sealed_detail", f"must have at most {MAX_SEALED} bytes")

    def _check_subjects(self, signal: Signal, rule: Code | None) -> None:
        subject = signal.subject
        self._check_token("subject", subject)
        if subject.epoch != self._epoch:
            self._no("subject.epoch", "is not the batch's epoch")
        if signal.HasField("counterparty"):
            counterparty = signal.counterparty
            self._check_token("counterparty", counterparty)
            if counterparty.epoch != self._epoch:
                self._no("counterparty.epoch", "is not the batch's epoch")
            if counterparty.value == subject.value:
                self._no("counterparty", "must not equal the subject: a flow to oneself")
            elif any(link.value == counterparty.value for link in signal.links):
                self._no("counterparty", "must not be a link of the subject: a flow to oneself")
        if signal.links:
            if len(signal.links) > MAX_LINKS:
                self._no("links", f"must be at most {MAX_LINKS}")
                return
            seen = {subject.value}
            for at, link in enumerate(signal.links):
                self._check_token(f"links[{at}]", link)
                if link.value in seen:
                    self._no(f"links[{at}]", "must differ from the subject and the other links")
                seen.add(link.value)
                if link.epoch != subject.epoch and not (
                    rule is not None and rule.role == "link" and link.type == subject.type
                ):
                    # Old → new: the only join of epochs that a member can sign for.
                    self._no(
                        f"links[{at}].epoch",
                        "is not the subject's: only a code that links may name another epoch's token, one of"
                        " the subject's own type",
                    )

    def _check_token(self, field: str, token: SubjectToken) -> None:
        if len(token.value) != TOKEN_SIZE:
            self._no(f"{field}.value", "must have 32 bytes")
        key = (token.type, token.epoch)
        valid = self._epochs.get(key)
        if valid is None:
            valid = self._epochs[key] = self._epoch_valid(*key)
        if not valid:
            if not 1 <= token.type <= 9:
                self._no(f"{field}.type", "must be a known identifier type")
            else:
                self._no(f"{field}.epoch", "is not an epoch valid now", _EPOCH)

    def _check_code(self, signal: Signal, rule: Code) -> None:
        if self._party.kind not in rule.publisher_kinds:
            self._no("code", "is not allowed to this kind of member", _CODE)
        if signal.subject.type not in rule.subject_type_values:
            self._no("subject.type", "is not a subject type of the code")
        if signal.grade < rule.minimum_grade_value:
            self._no("grade", "is below the code's minimum")
        if rule.needs_links and not signal.links:
            self._no("links", "are needed by the code")
        if rule.needs_counterparty and not signal.HasField("counterparty"):
            self._no("counterparty", "is needed by the code")

    def _check_times(self, signal: Signal, rule: Code | None) -> None:
        first, last, expires = signal.first_seen, signal.last_seen, signal.expires_at
        if first % SLOT or not 0 < first <= MAX_TIME:
            self._no("first_seen", "must be a positive multiple of 300")
        if last % SLOT or not 0 < last <= MAX_TIME:
            self._no("last_seen", "must be a positive multiple of 300")
        if first > last:
            self._no("first_seen", "must not be after last_seen")
        if last > self._now:
            self._no("last_seen", "is in the future")
        if expires % SLOT:
            self._no("expires_at", "must be a multiple of 300")
        if expires <= self._now:
            self._no("expires_at", "is not in the future")
        elif rule is not None and expires > self._now + rule.retention_days * DAY:
            self._no("expires_at", f"is beyond the code's term of {rule.retention_days} days")


def check_count(count: int) -> None:
    """Refuse a batch that is empty or too large."""
    if not 1 <= count <= MAX_BATCH:
        raise invalid("signals", f"must be 1 to {MAX_BATCH}")


def check_tokens(tokens: Sequence[bytes]) -> None:
    """Refuse a list of tokens that is not 1 to 1,000 of 32 bytes, strictly ascending."""
    count = len(tokens)
    if not 1 <= count <= MAX_BATCH:
        raise invalid("tokens", f"must be 1 to {MAX_BATCH}")
    if count == 1:
        if len(tokens[0]) != TOKEN_SIZE:
            raise invalid("tokens[0]", "must have 32 bytes")
        return
    violations = [
        (f"tokens[{at}]", "must have 32 bytes") for at, token in enumerate(tokens) if len(token) != TOKEN_SIZE
    ]
    violations += [
        (f"tokens[{at}]", "must be after the token before it")
        for at, (left, right) in enumerate(pairwise(tokens), start=1)
        if left >= right
    ]
    if violations:
        raise Refusal(_INVALID, _MESSAGES[_INVALID], violations=violations)


def check_type_and_epoch(type_: int, epoch: int, epoch_valid: EpochValid) -> None:
    """Refuse a type that is not known or an epoch that is not valid now."""
    if not 1 <= type_ <= 9:
        raise invalid("type", "must be a known identifier type")
    if not epoch_valid(type_, epoch):
        raise Refusal(_EPOCH, _MESSAGES[_EPOCH], violations=[("epoch", "is not an epoch valid now")])


def allowed_purpose(rulebook: Rulebook, purpose: str, kind: str) -> Purpose:
    """The purpose's rule. Raises Refusal PURPOSE_REQUIRED or PURPOSE_NOT_ALLOWED."""
    if not purpose:
        raise Refusal(ErrorReason.ERROR_REASON_PURPOSE_REQUIRED, "a look-up names its purpose")
    rule = rulebook.purpose(purpose)
    if rule is None or kind not in rule.kinds:
        raise Refusal(
            ErrorReason.ERROR_REASON_PURPOSE_NOT_ALLOWED,
            "the rulebook does not allow this purpose to this kind of member",
            metadata={"kind": kind},
        )
    return rule
