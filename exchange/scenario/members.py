"""The institutions of the city, by what they do there.

Invariants: at least two banks, exactly one payment provider and one shop; a member's place among the banks
is its number in identifiers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from signalexchange.errors import ConfigError

MEMBERS: Mapping[str, str] = {
    "bank-north": "bank",
    "bank-south": "bank",
    "pay-lotus": "payment_provider",
    "shop-river": "ecommerce",
}
"""Member ids and kinds of an ordinary trial deployment."""


@dataclass(frozen=True)
class Institutions:
    """Member ids by role."""

    banks: tuple[str, ...]
    provider: str
    shop: str

    @classmethod
    def of(cls, members: Mapping[str, str]) -> "Institutions":
        """From member ids and their kinds. Raises ConfigError where a role is missing or taken twice."""
        by_kind: dict[str, list[str]] = {}
        for member, kind in members.items():
            by_kind.setdefault(kind, []).append(member)
        banks, providers, shops = (by_kind.pop(k, []) for k in ("bank", "payment_provider", "ecommerce"))
        if by_kind or len(banks) < 2 or len(providers) != 1 or len(shops) != 1:
            raise ConfigError(
                "a scenario has two banks or more, one payment provider and one ecommerce member"
            )
        return cls(tuple(banks), providers[0], shops[0])

    @property
    def all(self) -> tuple[str, ...]:
        """Every member."""
        return (*self.banks, self.provider, self.shop)
