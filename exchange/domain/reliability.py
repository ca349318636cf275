"""Whom outcomes say to believe: Beta posteriors of issuing groups and of codes.

A tally counts one party's verdicts on what another said. A posterior adds up tallies over a prior; what
scores use is its factor: the posterior's mean divided by the prior's. Invariants: a group's word on itself
counts only against it; a reporting group weighs at most the rulebook's number of outcomes; others move a
factor only as far as every leave-one-group-out posterior has it, so that no group moves another's alone;
whoever is shut out has no say. Integer arithmetic: a replay gets the same.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from signalexchange.patterns import Prior

NEUTRAL: Final = 1000
"""Factor, in permille, of whom no outcome is known."""


class Tally(NamedTuple):
    """How many verdicts of `reporter` (a party's id) confirmed and refuted what `issuer` said under `code`.

    A verdict on a match counts once for its pattern, with no issuer, and once for each issuer of its
    evidence, with no code.
    """

    issuer: str
    code: str
    reporter: str
    confirmed: int
    refuted: int


class Posterior:
    """Verdicts on one issuing group (`owner`) or one code (no owner), by reporting group."""

    def __init__(self, prior: Prior, owner: str | None) -> None:
        self.prior = prior
        self.owner = owner
        self._verdicts: dict[str, tuple[int, int]] = {}

    def copy(self) -> "Posterior":
        """Another one with the same verdicts."""
        copied = Posterior(self.prior, self.owner)
        copied._verdicts = dict(self._verdicts)
        return copied

    def add(self, group: str, confirmed: int, refuted: int) -> None:
        """Take in a group's verdicts."""
        before = self._verdicts.get(group, (0, 0))
        self._verdicts[group] = before[0] + confirmed, before[1] + refuted

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Posterior) and (self.prior, self.owner, self._verdicts) == (
            other.prior,
            other.owner,
            other._verdicts,
        )

    __hash__ = None  # type: ignore[assignment]  # verdicts are added

    @property
    def groups(self) -> Iterable[str]:
        """Who has a say."""
        return self._verdicts.keys()

    @property
    def counts(self) -> tuple[int, int]:
        """How many outcomes count as confirmed and as refuted."""
        capped = [self._capped(group) for group in self._verdicts]
        return sum(each[0] for each in capped), sum(each[1] for each in capped)

    @property
    def mean(self) -> int:
        """The posterior's mean in permille."""
        confirmed, refuted = self.counts
        held = self.prior.confirmed + confirmed
        return 1000 * held // (held + self.prior.refuted + refuted)

    def factor(self, without: str | None = None) -> int:
        """What scores use, in permille, as if the group `without` had said nothing."""
        own, others = (0, 0), []
        for group in self._verdicts:
            if group == without:
                continue
            if group == self.owner:
                own = self._capped(group)
            else:
                others.append(self._capped(group))
        alone = self._ratio(*own)
        confirmed = own[0] + sum(each[0] for each in others)
        refuted = own[1] + sum(each[1] for each in others)
        left = [self._ratio(confirmed - each[0], refuted - each[1]) for each in others]
        if not left or min(left) <= alone <= max(left):
            return alone
        return min(left) if alone < min(left) else max(left)

    def _capped(self, group: str) -> tuple[int, int]:
        confirmed, refuted = self._verdicts[group]
        if confirmed + refuted <= self.prior.per_group:
            return confirmed, refuted
        scaled = confirmed * self.prior.per_group // (confirmed + refuted)
        return scaled, self.prior.per_group - scaled

    def _ratio(self, confirmed: int, refuted: int) -> int:
        before, more = self.prior.confirmed, self.prior.refuted
        held = before + confirmed
        return NEUTRAL * held * (before + more) // ((held + more + refuted) * before)


class Factors(NamedTuple):
    """Factors in permille by issuing group and by code; who is not listed has NEUTRAL."""

    groups: Mapping[str, int]
    codes: Mapping[str, int]

    def of(self, group: str, code: str) -> int:
        """Factor of what a group says under a code, in millionths."""
        return self.groups.get(group, NEUTRAL) * self.codes.get(code, NEUTRAL)


NO_OUTCOMES: Final = Factors({}, {})
"""The factors where no outcome moves any."""


class Reliability:
    """All posteriors; never changes. `group_of` gives the controlling group under which a party counts, or
    None."""

    def __init__(
        self, prior: Prior, group_of: Callable[[str], str | None], tallies: Iterable[Tally] = ()
    ) -> None:
        self._prior = prior
        self._group_of = group_of
        self._groups: dict[str, Posterior] = {}
        self._codes: dict[str, Posterior] = {}
        self._without: dict[str, Factors] = {}
        self._tallies: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.reporters: set[str] = set()
        """Groups that have a say in any factor."""
        for tally in tallies:
            self._take(tally)
        self.factors = self._factors(None)

    def plus(self, tallies: Iterable[Tally]) -> "Reliability":
        """What is known with more verdicts. Only what they are about is copied: each report comes here."""
        more = Reliability(self._prior, self._group_of)
        more._groups, more._codes = dict(self._groups), dict(self._codes)
        more._tallies, more.reporters = dict(self._tallies), set(self.reporters)
        for tally in tallies:
            for known, name in ((more._groups, self._group_of(tally.issuer)), (more._codes, tally.code)):
                if name in known:
                    known[name] = known[name].copy()
            more._take(tally)
        more.factors = more._factors(None)
        return more

    def tally(self, issuer: str, code: str, reporter: str) -> Tally:
        """What was taken in of these, added up."""
        return Tally(issuer, code, reporter, *self._tallies.get((issuer, code, reporter), (0, 0)))

    def says_the_same(self, other: "Reliability") -> bool:
        """Whether the same outcomes count for the same groups and codes, whatever group is left out."""
        return self._groups == other._groups and self._codes == other._codes

    @property
    def tallies(self) -> list[Tally]:
        """All that was taken in, added up; ascending."""
        return [Tally(*names, *counts) for names, counts in sorted(self._tallies.items())]

    def trust(self, group: str) -> int:
        """Factor of an issuing group, in permille."""
        return self.factors.groups.get(group, NEUTRAL)

    def without(self, group: str) -> Factors:
        """The factors as if a group had reported no outcome."""
        if group not in self.reporters:
            return self.factors
        if group not in self._without:
            self._without[group] = self._factors(group)
        return self._without[group]

    def of_group(self, group: str) -> Posterior:
        """What is known of an issuing group."""
        return self._groups.get(group) or Posterior(self._prior, group)

    def codes(self) -> list[tuple[str, Posterior]]:
        """Codes and patterns with outcomes, ascending."""
        return sorted(self._codes.items())

    def _take(self, tally: Tally) -> None:
        before = self._tallies.get(tally[:3], (0, 0))
        self._tallies[tally[:3]] = before[0] + tally.confirmed, before[1] + tally.refuted
        reporter = self._group_of(tally.reporter)
        issuer = self._group_of(tally.issuer) if tally.issuer else ""
        if reporter is None or issuer is None:
            return
        confirmed = 0 if reporter == issuer else tally.confirmed
        if not confirmed and not tally.refuted:
            return
        self.reporters.add(reporter)
        if issuer:
            known = self._groups.setdefault(issuer, Posterior(self._prior, issuer))
            known.add(reporter, confirmed, tally.refuted)
        if tally.code:
            known = self._codes.setdefault(tally.code, Posterior(self._prior, None))
            known.add(reporter, confirmed, tally.refuted)

    def _factors(self, without: str | None) -> Factors:
        factors = Factors(_moved(self._groups, without), _moved(self._codes, without))
        return factors if any(factors) else NO_OUTCOMES


def _moved(posteriors: Mapping[str, Posterior], without: str | None) -> dict[str, int]:
    factors = {name: posterior.factor(without) for name, posterior in posteriors.items()}
    return {name: factor for name, factor in factors.items() if factor != NEUTRAL}
