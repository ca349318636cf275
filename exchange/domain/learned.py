"""Versions of the learned parameters: which outcomes are counted, and the factors that follow from them.

Invariants: a version never changes; the next one has the next number, and is there only where other tallies
are counted, or the same ones for somebody else or by another prior. Numbers begin with 1; 0 is no outcomes.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from signalexchange.rulebook import Rulebook
from signalexchange.v1.log_entry_pb2 import LearnedFactor, ModelEntry, OutcomeTally

from exchange.domain.membership import Membership
from exchange.domain.reliability import Reliability, Tally


class Learned(NamedTuple):
    """A version of the learned parameters."""

    version: int
    reliability: Reliability

    @classmethod
    def of(cls, version: int, membership: Membership, tallies: Iterable[Tally]) -> "Learned":
        """What tallies come to under a membership."""
        prior = membership.rulebook.matching.reliability
        return cls(version, Reliability(prior, membership.counted_group, tallies))

    def name(self, rulebook: Rulebook) -> str:
        """How answers name it behind the rulebook's model, such as "additive-2.17"."""
        return f"{rulebook.model.version}.{self.version}"

    def plus(self, tallies: Iterable[Tally]) -> "Learned":
        """The next version, with more tallies."""
        return Learned(self.version + 1, self.reliability.plus(tallies))

    def under(self, membership: Membership) -> "Learned":
        """The same tallies under another membership: the next version if that makes a difference, else this
        one."""
        after = Learned.of(self.version, membership, self.reliability.tallies)
        if after.reliability.says_the_same(self.reliability):
            return after
        return after._replace(version=self.version + 1)

    def entry(self, changed: Iterable[Tally], rulebook: Rulebook, as_of: int = 0) -> ModelEntry:
        """What the log holds of it; the tallies that are other than in the version before are `changed`."""
        names = sorted({tally[:3] for tally in changed})
        factors = self.reliability.factors
        return ModelEntry(
            version=self.version,
            model=rulebook.model.version,
            rulebook_digest=bytes.fromhex(rulebook.digest()),
            tallies=[
                OutcomeTally(
                    issuer=tally.issuer,
                    code=tally.code,
                    reporter=tally.reporter,
                    confirmed=tally.confirmed,
                    refuted=tally.refuted,
                )
                for tally in (self.reliability.tally(*name) for name in names)
            ],
            groups=_listed(factors.groups),
            codes=_listed(factors.codes),
            as_of=as_of,
        )


def _listed(factors: Mapping[str, int]) -> list[LearnedFactor]:
    return [LearnedFactor(name=name, permille=factor) for name, factor in sorted(factors.items())]
