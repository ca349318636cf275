"""What the gate's rules ask: every figure with its unit. Why each is what it is: docs/gate.md."""

from dataclasses import dataclass

from signalexchange.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GateParameters:
    """Figures of the gate. `…_cny` are whole yuan, `…_permille` are 0 to 1,000, the rest is in its name.

    Raises ConfigError for a figure below 0, a share above 1,000, or a window of nothing.
    """

    valid_days: int = 60
    """A signal expires so long after the day its fact was last seen; at most the rulebook's retention."""
    link_days: int = 40
    """A subject's link is said again when it was last said so long ago: sooner than matching forgets it."""
    links_most: int = 32
    """Links said of one subject, or to one value, in `valid_days`; the rulebook's links_per_subject."""
    signals_most: int = 200
    """Signals on one subject in `valid_days`; the rulebook's signals_per_subject. More are held back."""
    known_days: int = 45
    """What is known of a customer is forgotten so long after the customer was last seen."""
    shared_most: int = 16
    """A value that more customers have in `known_days` is a place, not a person: it isn't linked."""

    purchase_least_cny: int = 600
    """Sums that a payer spends on credit at a merchant at once and that are less are everyday life."""
    split_hours: int = 24
    """Purchases, or repayments, within are one sum that was split."""
    points: int = 3
    """Points that publish a purchase (docs/gate.md)."""
    purchase_large_permille: int = 600
    """That share of the line is large: 3 points."""
    purchase_some_permille: int = 100
    """That share of the line is considerable: 1 point."""
    purchase_history_times: int = 5
    """Without a known limit, so many times the payer's mean credit purchase is large."""
    purchase_history_count: int = 5
    """Credit purchases of a payer in `known_days` that make a mean."""
    purchase_large_cny: int = 3_000
    """Without limit and mean, that sum is large."""
    trade_days: int = 14
    trade_none: int = 2
    """A merchant with so few other purchases, small or not on credit, in `trade_days` has none: 3 points."""
    trade_little: int = 6
    """One with so few has little: 2 points."""
    trade_some: int = 25
    """One with more than little: -1. One with more than that is a busy one: -3, and nothing is made of who
    else buys there."""
    again_days: int = 7
    """The payer did the like on another day or elsewhere within: 3 points. Did before that: -1."""
    burst_hours: int = 24
    """Somebody else did there within: 1 point."""
    buyers_days: int = 5
    buyers_some: int = 2
    buyers_many: int = 4
    """A merchant at which so many others did so within `buyers_days` sells dear things: -1 each."""
    sharers: int = 3
    """So many buyers on credit on one device or at one address are a sign (up to `shared_most`)."""
    sign_days: int = 7
    """A sign on a payer or merchant holds so long, backwards for purchases not yet published too."""

    pass_hours: int = 72
    """Money sent on within is passed on."""
    pass_least_cny: int = 420
    """Legs, or sums of legs, below are never published: what a purchase worth a fee gives back at least."""
    pass_returns_permille: int = 700
    """An account that sends on that share, up to all, of what it received passes on."""
    busy_legs: int = 40
    """An account with more legs in or out in `pass_hours` settles for many: its balance tells nothing."""
    partner_days: int = 7
    """Who paid the other so long ago or longer is a partner in business, not a hop."""
    pass_payees: int = 5
    """One sum sent on to more is a payroll of a kind: a foreman's, say."""
    repeat_hours: int = 84
    repeat_least_cny: int = 1_000
    """Payments of one to another within `repeat_hours` that add up to so much are published."""
    payout_days: int = 7
    """Whom a business without trade first paid within is new to it; its first payment a day to one passes."""
    regular_days: int = 45
    """A payment like one to the same payee 20 to so many days ago is regular: salary, rent."""

    refund_hours: int = 6
    """A refund of an order so young is too early for goods to have come back."""
    refund_least_cny: int = 600
    """Refunds of a merchant to a customer within `refund_hours` that add up to less are not published."""

    repaid_least_cny: int = 1_000
    """Sums repaid that are less are no cycle."""
    repaid_use_permille: int = 300
    """Use of a line, as far as it is known, below which repaying it is routine."""
    respend_hours: int = 48
    """Credit purchases within that make up `respend_permille` of what was repaid complete the cycle."""
    respend_permille: int = 700
    exhaust_permille: int = 900
    """A line used so far is exhausted."""
    exhaust_days: int = 7
    """It was drawn that far within so many days."""
    quiet_permille: int = 300
    """Below that use a line is quiet."""
    quiet_days: int = 21
    """A line must have been quiet so long before."""

    ungated: bool = False
    """Pass every credit purchase, every transfer, and every refund that the rule of refunds is about."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            window = name.endswith(("_days", "_hours"))
            if value < int(window) or (name.endswith("_permille") and value > 1_000):
                raise ConfigError(f"gate parameter {name} is out of range")

    @classmethod
    def everything(cls) -> "GateParameters":
        """No gate: what a member, or all of them together, could have matched with their own data."""
        most = 1_000_000
        return cls(refund_least_cny=0, links_most=most, signals_most=most, shared_most=most, ungated=True)
