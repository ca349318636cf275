"""The versions of what is learned, followed from the outcomes on the log.

Invariants: each version is the next one; its tallies are those before it and what the verdicts since then
come to; its factors are what the tallies come to under the roster and rulebook in force. Later scores are
compared under what the log says, so that one difference isn't told of again with each of them.
"""

from collections import Counter

from signalexchange.v1.log_entry_pb2 import ModelEntry

from exchange.domain.learned import Learned
from exchange.domain.membership import Membership
from exchange.domain.reliability import Tally
from exchange.usecases.replay.report import ReplayReport, What, Why

_Names = tuple[str, str, str]
_Counts = tuple[int, int]


class VersionBook:
    """Tallies as of the last version on the log, and what must be in the next one."""

    def __init__(self, report: ReplayReport) -> None:
        self._report = report
        self._counts: dict[_Names, _Counts] = {}
        self._due: Counter[tuple[_Names, bool]] = Counter()
        self._unknown: Counter[tuple[str, str, bool]] = Counter()
        self._lost: Why | None = None
        self._awaited: int | None = None
        self._learned: Learned | None = None

    @property
    def version(self) -> int:
        """The last one on the log."""
        return 0 if self._learned is None else self._learned.version

    def install(self, index: int, membership: Membership) -> Learned:
        """What the log counts so far under a membership that an entry put in force: the next entry is a
        version if that makes a difference."""
        tallies = [Tally(*names, *counts) for names, counts in self._counts.items()]
        before, self._learned = self._learned, Learned.of(self.version, membership, tallies)
        if before is None or not before.version:
            return self._learned
        if not before.reliability.says_the_same(self._learned.reliability):
            self._awaited = index
        return self._learned

    def count(self, tally: Tally, lost: Why | None = None) -> None:
        """A verdict is to be counted; its code isn't known where the signal's content is `lost`."""
        for confirmed, counted in ((True, tally.confirmed), (False, tally.refuted)):
            if counted and lost is None:
                self._due[tally[:3], confirmed] += counted
            elif counted:
                self._unknown[tally.issuer, tally.reporter, confirmed] += counted
                self._lost = lost

    def await_version(self, index: int) -> None:
        """An entry's verdicts are counted by the next entry, if any of them counts."""
        if (self._due or self._unknown) and self.version:
            self._awaited = index

    def missed(self) -> int | None:
        """The entry that a version should have followed, once the next entry is none."""
        awaited, self._awaited = self._awaited, None
        return awaited

    def check(self, index: int, entry: ModelEntry, membership: Membership, lacks: Why | None) -> Learned:
        """Compare a version with what comes before it; `lacks` says why verdicts on matches can't be counted
        again. The version in force from now on."""
        self._awaited = None
        problems: list[str] = []
        if entry.version != self.version + 1:
            problems.append(f"version {entry.version} after {self.version}")
        rulebook = membership.rulebook
        if (entry.model, entry.rulebook_digest.hex()) != (rulebook.model.version, rulebook.digest()):
            problems.append("names another rulebook than the one in force")
        why: Why | None = None
        says = self._increments(entry)
        if says is None and self._unknown:
            why = self._lost
        elif says is not None and entry.as_of and lacks is not None:
            why = lacks
        elif says is not None:
            problems.append(says)
        self._due.clear()
        self._unknown.clear()
        self._learned = learned = self._next(entry, membership)
        factors = learned.reliability.factors
        for name, listed, worked_out in (
            ("groups", entry.groups, factors.groups),
            ("codes", entry.codes, factors.codes),
        ):
            if {factor.name: factor.permille for factor in listed} != worked_out:
                problems.append(f"factors of {name} don't follow from the tallies")
        if problems:
            self._report.differs(What.VERSIONS, index, "; ".join(problems))
        elif why is not None:
            self._report.unknown(What.VERSIONS, why)
        else:
            self._report.same(What.VERSIONS)
        return learned

    def _next(self, entry: ModelEntry, membership: Membership) -> Learned:
        """What the log counts from an entry on."""
        more: list[Tally] = []
        for tally in entry.tallies:
            names = tally.issuer, tally.code, tally.reporter
            confirmed, refuted = self._counts.get(names, (0, 0))
            more.append(Tally(*names, tally.confirmed - confirmed, tally.refuted - refuted))
            self._counts[names] = tally.confirmed, tally.refuted
        if self._learned is None or any(tally.confirmed < 0 or tally.refuted < 0 for tally in more):
            tallies = [Tally(*names, *counts) for names, counts in self._counts.items()]
            return Learned.of(entry.version, membership, tallies)
        return self._learned.plus(more)._replace(version=entry.version)

    def finish(self, stored: list[Tally], version: int, size: int) -> None:
        """Compare what is stored at the end."""
        says = None
        if self._awaited is not None:
            says = "no version of what is learned follows"
        elif version != self.version:
            says = f"version {version} is stored, {self.version} is the last on the log"
        elif not self.version:
            self._report.unknown(What.VERSIONS, Why.OLDER, len(stored))
        elif {tally[:3]: tally[3:] for tally in stored} != self._counts:
            says = "the stored tallies are not those on the log"
        if says is not None:
            self._report.differs(What.VERSIONS, size, says)

    def _increments(self, entry: ModelEntry) -> str | None:
        """What of an entry's tallies isn't what the verdicts since the last one come to."""
        left: Counter[tuple[_Names, bool]] = Counter()
        for tally in entry.tallies:
            names = tally.issuer, tally.code, tally.reporter
            before = self._counts.get(names, (0, 0))
            left[names, True] = tally.confirmed - before[0]
            left[names, False] = tally.refuted - before[1]
        left.subtract(self._due)
        wanting = self._unknown.copy()
        for (names, confirmed), more in left.items():
            if more < 0:
                return f"counts too little of what {names[2]} reported of {names[0] or names[1]}"
            if more:
                wanting[names[0], names[2], confirmed] -= more
        for (issuer, reporter, _), missing in wanting.items():
            if missing:
                return (
                    f"counts otherwise than the verdicts what {reporter} reported of {issuer or 'patterns'}"
                )
        return None
