"""Movements of money as they really happen, before anybody sees them.

Invariants: amounts are CNY, positive and whole in fen; `case` is empty for honest life. Who sees which part
of a movement is the matter of `views` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from exchange.scenario.merchants import House, Merchant
from exchange.scenario.people import Account, Line, Person

Logistics = Literal["moved", "none", "empty"]


@dataclass(frozen=True, slots=True)
class Wallet:
    """Somebody's balance at the payment provider."""

    holder: Person


Method = Line | Account | Wallet
"""What a purchase is paid from: on credit, by debit card, from the wallet."""


@dataclass(slots=True, eq=False)
class Purchase:
    """Somebody buys something. `order` is the platform's number, empty for a sale over the counter."""

    rank: ClassVar[int] = 1
    time: int
    payer: Person
    merchant: Merchant
    amount: float
    method: Method
    device: str
    address: str
    order: str
    habit: str
    case: str


@dataclass(slots=True, eq=False)
class Transfer:
    """Money from one account to another, or from wallet to wallet."""

    rank: ClassVar[int] = 2
    time: int
    source: Account | Wallet
    target: Account | Wallet
    amount: float
    habit: str
    case: str


@dataclass(slots=True, eq=False)
class Refund:
    """An order given back. `to_payer` false: the platform is told so, but no line or account sees it."""

    rank: ClassVar[int] = 3
    time: int
    purchase: Purchase
    amount: float
    logistics: Logistics
    to_payer: bool
    habit: str
    case: str


@dataclass(slots=True, eq=False)
class Repayment:
    """A line repaid from an account. `amount` 0 stands for `share` of what is owed at the time."""

    rank: ClassVar[int] = 0
    time: int
    line: Line
    amount: float
    share: float
    source: Account
    house: House
    habit: str
    case: str


Movement = Purchase | Transfer | Refund | Repayment


@dataclass(slots=True)
class Book:
    """Writes movements of one habit or one case into a common list."""

    movements: list[Movement]
    habit: str
    case: str = ""
    orders: Callable[[], str] = field(kw_only=True)

    def buy(
        self,
        time: int,
        payer: Person,
        merchant: Merchant,
        amount: float,
        method: Method,
        device: str,
        platform: bool,
        address: str = "",
    ) -> Purchase:
        """A purchase; on the platform it is delivered to `address`, or else the payer's usual place."""
        order = self.orders() if platform else ""
        if isinstance(method, Line) and self.case:
            method.planned += amount
        purchase = Purchase(
            time, payer, merchant, round(amount, 2), method, device,
            (address or payer.delivery) if platform else "", order, self.habit, self.case,
        )  # fmt: skip
        self.movements.append(purchase)
        return purchase

    def send(self, time: int, source: Account | Wallet, target: Account | Wallet, amount: float) -> None:
        """A transfer; nothing moves between an account and itself."""
        if source != target:
            self.movements.append(Transfer(time, source, target, round(amount, 2), self.habit, self.case))

    def refund(
        self, time: int, purchase: Purchase, amount: float, logistics: Logistics, to_payer: bool = True
    ) -> None:
        """Part or all of a purchase given back."""
        self.movements.append(
            Refund(time, purchase, round(amount, 2), logistics, to_payer, self.habit, self.case)
        )

    def repay(self, time: int, line: Line, amount: float, source: Account, house: House) -> None:
        """An amount repaid to a line."""
        self.movements.append(
            Repayment(time, line, round(amount, 2), 0.0, source, house, self.habit, self.case)
        )

    def repay_share(self, time: int, line: Line, share: float, source: Account, house: House) -> None:
        """A share, 0 to 1, of what will be owed at that time."""
        self.movements.append(Repayment(time, line, 0.0, share, source, house, self.habit, self.case))
