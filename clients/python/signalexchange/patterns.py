"""The parameters of matching, as the rulebook holds them: what makes a pattern, and what bounds the search.

Invariants: data, not code; every number has its unit in its name or here: hours, days, counts, permille. A
window for loops has at most 72 hours; matching looks back `window_days` and no further. Sources of the
figures: docs/matching.md.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from signalexchange.documents import Record

Permille = Annotated[int, Field(strict=True, ge=1, le=1000)]
Hours = Annotated[int, Field(strict=True, ge=1, le=72)]
Days = Annotated[int, Field(strict=True, ge=1, le=180)]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]
Several = Annotated[int, Field(strict=True, ge=2, le=100)]
MilliNats = Annotated[int, Field(strict=True, ge=-20_000, le=20_000)]


class Return(Record):
    """What share of the money a hop hands on, in permille of the hop before."""

    least: Permille
    most: Permille

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.least > self.most:
            raise ValueError("least is above most")
        return self


class FundsLoop(Record):
    """payer → merchant → … → payer: at most `hops` legs within `hours`."""

    hours: Hours
    hops: Annotated[int, Field(strict=True, ge=2, le=5)]
    returns: Return


class RefundLoop(Record):
    """Order and refund within `refund_hours`, nothing shipped, the money with the payer within `hours`."""

    refund_hours: Hours
    hours: Hours
    returns: Return


class PayerRing(Record):
    """At least `payers` who share a value and buy on credit at one merchant within `days`, and are at least
    `share` permille of the merchant's payers."""

    payers: Several
    days: Days
    share: Permille


class MerchantHopping(Record):
    """At least `payers` who bought within `days` at the same `merchants` or more, at each no more than
    `apart_hours` apart, at least `payers` × `merchants` times: each payer at more than `density` permille of
    the merchants, and at each merchant as many of the payers; a merchant with more than `popular` payers
    doesn't count."""

    payers: Several
    merchants: Several
    density: Permille
    days: Days
    apart_hours: Hours
    popular: Count


class RepayAndRespend(Record):
    """At least `cycles` over `issuers` groups, each following another within `gap_days`."""

    cycles: Several
    issuers: Several
    gap_days: Days


class BustOut(Record):
    """At least `lines` exhausted at `issuers` groups within `days`."""

    lines: Several
    issuers: Several
    days: Days


class CollectingAccount(Record):
    """An account that takes in from `sources` and hands on to `sinks` within `hours`, or to at least
    `payers`, most of its sinks, who had bought on credit where the money comes from."""

    sources: Several
    sinks: Several
    payers: Several
    hours: Hours
    returns: Return


class Identity(Record):
    """How far strong links are followed: at most `tokens` for one person, through values with at most
    `neighbours` a group."""

    tokens: Several
    neighbours: Several


class Degrees(Record):
    """From how many neighbours on a value is set aside, by what it is: those stated by all but the group that
    states most, so that no group alone sets a value aside."""

    device: Count
    address: Count
    phone: Count
    email: Count
    merchant: Count
    account: Count


class Prior(Record):
    """A Beta prior: so many outcomes confirmed and refuted before the first."""

    confirmed: Count
    refuted: Count
    per_group: Count
    """Outcomes of one reporting group that count at most."""


class Confidence(Record):
    """Log-odds of a match in milli-nats: `base` by pattern, and what each addition is worth."""

    funds_loop: MilliNats
    refund_loop: MilliNats
    payer_ring: MilliNats
    merchant_hopping: MilliNats
    repay_and_respend: MilliNats
    bust_out: MilliNats
    collecting_account: MilliNats
    group: MilliNats
    """Each independent group beyond the second."""
    doubling: MilliNats
    """Each doubling of the number of instances, up to `doublings`."""
    doublings: Annotated[int, Field(strict=True, ge=0, le=10)]
    rarity: MilliNats
    """Times the rarity of what joins them, 0 to 1."""


class Matching(Record):
    """How evidence of different groups is joined."""

    version: Literal["patterns-1"]
    min_groups: Annotated[int, Field(strict=True, ge=1, le=20)]
    """Independent groups each instance of a pattern needs."""
    report_at: Permille
    """Least confidence, in permille, with which a match is told."""
    window_days: Days
    """How long an observation is looked at, counted from when its fact was last seen."""
    rumour_days: Days
    """For how long a hit shown to a group keeps its signals on that subject from corroborating."""
    dispute_days: Days
    """How long a foreign refutation caps advice unless the issuer answers."""
    legs_per_pair_and_day: Several
    """Hypotheses: legs of one group from one token to another in a day that are looked at, and in a round
    trip its transfers of a day from the merchant and to the payer, over whatever accounts; withdrawn ones
    included."""
    fan: Several
    """Latest legs of a token and group that a search looks at."""
    steps: Annotated[int, Field(strict=True, ge=10, le=10_000)]
    """Legs one search looks at in all."""
    identity: Identity
    degrees: Degrees
    funds_loop: FundsLoop
    refund_loop: RefundLoop
    payer_ring: PayerRing
    merchant_hopping: MerchantHopping
    repay_and_respend: RepayAndRespend
    bust_out: BustOut
    collecting_account: CollectingAccount
    confidence: Confidence
    reliability: Prior
