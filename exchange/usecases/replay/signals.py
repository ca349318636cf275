"""The signals as they stood at each entry: what look-ups could find of them, and what is gone since.

Invariants: a signal's content is what its issuer signed, as far as the batch is whole; what is stored of it
beside that is what follows from the content. Status is worked out from the log alone: withdrawals and
verdicts by their entries, expiry by its time.
"""

from collections import Counter, defaultdict
from heapq import heappop, heappush

from signalexchange.envelope import batch_root, parse_message, parse_statement
from signalexchange.errors import ExchangeError, VerificationError
from signalexchange.rulebook import Rulebook
from signalexchange.v1.log_entry_pb2 import BatchEntry
from signalexchange.v1.signal_pb2 import Signal, SignalEnvelope

from exchange.domain.archive import Archive, StoredSignal
from exchange.domain.records import POSITIONS, Hit, Link, NewSignal, RoleSignal, place
from exchange.domain.validation import ValidSignal
from exchange.domain.verdicts import Effect
from exchange.usecases.replay.report import ReplayReport, What, Why

Row = tuple[RoleSignal, Signal]


class SignalBook:
    """Signals of the batches taken in so far."""

    def __init__(self, archive: Archive, report: ReplayReport) -> None:
        self._archive = archive
        self._report = report
        self._erased: set[int] = set()
        self._rows: dict[int, NewSignal] = {}
        self._by_token: dict[bytes, list[int]] = defaultdict(list)
        self._links: dict[bytes, list[Link]] = defaultdict(list)
        self._ended: set[int] = set()
        self._disputed: dict[int, int] = {}
        self._appealed: dict[int, int] = {}
        self._roles: dict[int, Row] = {}
        self._gone: dict[int, StoredSignal] = {}
        self._gone_by: Counter[tuple[str, Why]] = Counter()
        self._gone_until: list[tuple[int, int]] = []
        self.lost: dict[Why, int] = {}
        """The first place of a signal with a role in matching that is gone, by why."""

    def note_erased(self, places: list[int]) -> None:
        """Before the walk: an order erased these."""
        self._erased.update(places)

    # --- the walk

    def batch(self, index: int, entry: BatchEntry, rulebook: Rulebook, issuer: str) -> list[Row]:
        """Take in a batch; its signals with a role in matching, as far as their content is there."""
        stored = self._archive.signals_of(index)
        self._check_batch(index, entry, stored)
        roles: list[Row] = []
        for row in stored:
            if row.body is None or row.nonce is None:
                self._lose(row)
                continue
            try:
                message = parse_message(Signal, row.body)
            except ExchangeError as error:
                self._report.differs(What.SIGNALS, index, f"signal {row.place - place(index, 0)}: {error}")
                self._lose(row)
                continue
            valid = ValidSignal(message, row.nonce, row.body, rulebook.code(message.code))
            expected = valid.row(index, row.place - place(index, 0), issuer, row.echo)
            if NewSignal(*row[:-1]) == expected:  # type: ignore[arg-type]  # what is there is not None
                self._report.same(What.SIGNALS)
            else:
                self._report.differs(What.SIGNALS, index, _other(row, expected))
            self._take(expected, valid)
            if expected.role:
                role = RoleSignal(expected.place, issuer, expected.role, expected.echo, expected.body)
                self._roles[expected.place] = role, message
                roles.append((role, message))
        return roles

    def _check_batch(self, index: int, entry: BatchEntry, stored: list[StoredSignal]) -> None:
        try:
            statement = parse_statement(entry.statement)
            if len(stored) != statement.count:
                raise VerificationError(f"{len(stored)} signals are stored of {statement.count}")
            whole = [
                SignalEnvelope(signal=row.body, nonce=row.nonce)
                for row in stored
                if row.body is not None and row.nonce is not None
            ]
            if len(whole) == len(stored) and batch_root(whole) != statement.root:
                raise VerificationError("what is stored is not what the issuer signed")
        except ExchangeError as error:
            self._report.differs(What.SIGNALS, index, error)

    def _take(self, row: NewSignal, valid: ValidSignal) -> None:
        self._rows[row.place] = row._replace(nonce=b"", body=b"")  # all there is of it is in the rest
        if row.searched:
            self._by_token[row.token].append(row.place)
        if valid.joins:
            for link in valid.link_rows(row.place, row.issuer):
                self._links[link.token].append(link)

    def _lose(self, row: StoredSignal) -> None:
        why = self.lost_why(row.place)
        self._report.unknown(What.SIGNALS, why)
        self._gone[row.place] = row
        self._gone_by[row.issuer, why] += 1
        heappush(self._gone_until, (row.expires_at, row.place))
        if row.role:
            self.lost.setdefault(why, row.place)

    def end(self, places: list[int]) -> list[Row]:
        """Signals were withdrawn, or their issuer's group refuted them; those of them with a role."""
        active = [at for at in places if at not in self._ended]
        self._ended.update(places)
        for at in places:
            self._forget_gone(at)
        return [self._roles[at] for at in active if at in self._roles]

    def judge(self, at: int, what: Effect, until: int) -> list[Row]:
        """A verdict's effect on the signal at a place; `until` is the deadline of a dispute. What leaves
        matching."""
        if what == Effect.REFUTED:
            return self.end([at])
        if what == Effect.DISPUTED:
            self._disputed[at] = until
        elif what == Effect.UPHELD:
            self._disputed.pop(at, None)
        return []

    def appeal(self, places: list[int], until: int) -> None:
        """Appeals dispute the signals at these places until then, or, with 0, no longer."""
        for at in places:
            self._appealed[at] = until

    # --- asking

    def is_active(self, at: int) -> bool:
        """Whether nobody has ended it, its term aside."""
        return at not in self._ended

    def is_disputed(self, at: int) -> bool:
        """Whether a dispute is unanswered, lapsed or not."""
        return at in self._disputed

    def known(self, at: int) -> NewSignal | None:
        """A signal whose content is there."""
        return self._rows.get(at)

    def lost_why(self, at: int) -> Why:
        """Why the content of the signal at a place is gone."""
        return Why.ERASED if at in self._erased else Why.EXPIRED

    def roles_of(self, member: str, stop: int) -> list[Row]:
        """A member's active signals with a role whose place is below `stop`, ascending."""
        return [
            row
            for at, row in sorted(self._roles.items())
            if at < stop and row[0].issuer == member and at not in self._ended
        ]

    def roles(self, stop: int) -> list[Row]:
        """All active signals with a role whose place is below `stop`, ascending."""
        return [row for at, row in sorted(self._roles.items()) if at < stop and at not in self._ended]

    def hits(self, token: bytes, now: int) -> list[Hit]:
        """What a look-up of the token finds."""
        found = [self._hit(row, row.type, row.epoch, 0, 0) for row in self._on(token, now)]
        links = {
            (link.type, link.epoch, link.subject, link.issuer, link.audience, link.tlp)
            for link in self._links.get(token, ())
            if link.place not in self._ended and link.expires_at > now
        }
        for type_, epoch, subject, issuer, audience, tlp in sorted(links):
            found += [
                self._hit(row, type_, epoch, audience, tlp)
                for row in self._on(subject, now)
                if row.issuer == issuer
            ]
        return found

    def _on(self, token: bytes, now: int) -> list[NewSignal]:
        places = self._by_token.get(token, ())
        rows = [self._rows[at] for at in places if at not in self._ended]
        return [row for row in rows if row.expires_at > now]

    def _hit(self, row: NewSignal, type_: int, epoch: int, audience: int, tlp: int) -> Hit:
        return Hit(
            audience,
            tlp,
            row.place,
            row.issuer,
            type_,
            epoch,
            row.code,
            row.audience,
            row.confidence,
            row.grade,
            row.tlp,
            row.last_seen,
            row.echo,
            max(self._disputed.get(row.place, 0), self._appealed.get(row.place, 0)),
        )

    def gone(self, now: int, own: set[str]) -> Why | None:
        """Why a signal that counted at `now` and is none of these members' may be missing; None where none
        is."""
        while self._gone_until and self._gone_until[0][0] <= now:
            self._forget_gone(heappop(self._gone_until)[1])
        missing = {why for (issuer, why), count in self._gone_by.items() if count and issuer not in own}
        return min(missing) if missing else None

    def _forget_gone(self, at: int) -> None:
        row = self._gone.pop(at, None)
        if row is not None:
            self._gone_by[row.issuer, self.lost_why(at)] -= 1


def _other(row: StoredSignal, expected: NewSignal) -> str:
    names = [name for name in NewSignal._fields if getattr(row, name) != getattr(expected, name)]
    return f"signal {row.place % POSITIONS}: {', '.join(names)}: not what follows from its content"
