"""What each member sees: rows of the flow file format, made of the movements that pass through it.

Invariants: a row names only identifiers that its member knows. The provider knows its customers' phone,
national id and bound account; the shop phones, devices, delivery addresses and its merchants' operators; a
bank all about its own customers, and of the other side of a transfer the account alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

from exchange.scenario.merchants import House, Merchant
from exchange.scenario.movements import Movement, Purchase, Refund, Repayment, Transfer, Wallet
from exchange.scenario.people import Account, Line, Person
from exchange.scenario.town import Town


class Row(NamedTuple):
    """One movement of money, payer to payee, as one member sees it; None where it does not know.

    `time` is in Unix seconds, `amount` and `limit` in CNY. Links are "type:value;type:value". `credit` says
    that a line of this member is drawn or, in a refund, restored.
    """

    time: int
    payer: str
    payee: str
    amount: float
    payer_type: str
    payee_type: str
    kind: str
    credit: bool = False
    limit: float | None = None
    order: str | None = None
    logistics: str | None = None
    device: str | None = None
    address: str | None = None
    payer_links: str | None = None
    payee_links: str | None = None
    reference: str = ""


class Views:
    """Writes every member's rows, and which of them belong to a case."""

    def __init__(self, town: Town) -> None:
        self._provider, self._shop = town.institutions.provider, town.institutions.shop
        self.rows: dict[str, list[Row]] = {member: [] for member in town.institutions.all}
        self.cases: dict[str, dict[str, list[str]]] = {}
        self.habits: dict[tuple[str, str], int] = {}

    def write(self, movements: Sequence[Movement]) -> None:
        """The rows of movements that are in time order."""
        for each in movements:
            if isinstance(each, Purchase):
                self._purchase(each)
            elif isinstance(each, Transfer):
                self._transfer(each)
            elif isinstance(each, Refund):
                self._refund(each)
            else:
                self._repayment(each)

    def _purchase(self, each: Purchase) -> None:
        method, person = each.method, each.payer
        line = method if isinstance(method, Line) else None
        lender = line.lender if line else None
        row = Row(each.time, person.phone, each.merchant.code, each.amount, "phone", "merchant", "purchase")
        if each.order:
            order = row._replace(
                order=each.order,
                device=each.device,
                address=each.address,
                payee_links=f"phone:{each.merchant.platform_phone}",
            )
            self._add(self._shop, each, _drawn(order, line if lender == self._shop else None))
        if lender == self._provider or isinstance(method, Wallet):
            seen = row._replace(device=each.device, payer_links=self._customer(person))
            self._add(self._provider, each, _drawn(seen, line))
        elif card := _card(method):
            bank = card.bank
            seen = row._replace(
                payer=card.number, payer_type="card", payer_links=self._cardholder(bank, person)
            )
            self._add(bank, each, _drawn(seen, line))

    def _transfer(self, each: Transfer) -> None:
        source, target = each.source, each.target
        if isinstance(source, Wallet) and isinstance(target, Wallet):
            payer, payee = source.holder, target.holder
            row = Row(each.time, payer.phone, payee.phone, each.amount, "phone", "phone", "transfer")
            links = row._replace(payer_links=self._customer(payer), payee_links=self._customer(payee))
            self._add(self._provider, each, links)
        elif isinstance(source, Account) and isinstance(target, Account):
            self._between_accounts(each, source, target, (source.bank, target.bank))

    def _between_accounts(
        self, each: Transfer | Repayment, source: Account, target: Account, seen_by: Sequence[str]
    ) -> None:
        row = Row(each.time, source.iban, target.iban, each.amount, "iban", "iban", "transfer")
        for bank in dict.fromkeys(seen_by):
            payer_links, payee_links = self._holder(bank, source), self._holder(bank, target)
            self._add(bank, each, row._replace(payer_links=payer_links, payee_links=payee_links))

    def _refund(self, each: Refund) -> None:
        bought = each.purchase
        method, person, merchant = bought.method, bought.payer, bought.merchant
        lender = method.lender if isinstance(method, Line) else None
        row = Row(each.time, merchant.code, person.phone, each.amount, "merchant", "phone", "refund")
        if bought.order:
            order = row._replace(
                credit=each.to_payer and lender == self._shop,
                order=bought.order,
                logistics=each.logistics,
                device=bought.device,
                address=bought.address,
                payer_links=f"phone:{merchant.platform_phone}",
            )
            self._add(self._shop, each, order)
        if not each.to_payer:
            return
        row = row._replace(credit=lender is not None)
        if lender == self._provider or isinstance(method, Wallet):
            self._add(self._provider, each, row._replace(payee_links=self._customer(person)))
        elif card := _card(method):
            links = self._cardholder(card.bank, person)
            self._add(card.bank, each, row._replace(payee=card.number, payee_type="card", payee_links=links))

    def _repayment(self, each: Repayment) -> None:
        """The lender sees a repayment; the banks that the money passes, other than the lender, a transfer."""
        line, person = each.line, each.line.holder
        row = Row(
            each.time, person.phone, each.house.code, each.amount, "phone", "merchant", "repayment",
            limit=line.limit,
        )  # fmt: skip
        if card := _card(line):
            links = self._cardholder(card.bank, person)
            row = row._replace(payer=card.number, payer_type="card", payer_links=links)
        elif line.lender == self._provider:
            row = row._replace(payer_links=self._customer(person))
        self._add(line.lender, each, row)
        passed = [bank for bank in (each.source.bank, each.house.account.bank) if bank != line.lender]
        self._between_accounts(each, each.source, each.house.account, passed)

    # What a member knows of its own customers

    def _customer(self, person: Person) -> str:
        """The provider's: national id and bound account."""
        return f"national_id_cn:{person.national_id};{person.bound}"

    def _cardholder(self, bank: str, person: Person) -> str:
        account = person.account_at(bank)
        known = [f"phone:{person.bank_phone}", f"national_id_cn:{person.national_id}"]
        return ";".join([*known, f"iban:{account.iban}"] if account else known)

    def _holder(self, bank: str, account: Account) -> str | None:
        """What a bank knows of the holder of an account, if it is its own."""
        if account.bank != bank:
            return None
        holder = account.holder
        if isinstance(holder, Merchant):
            return f"merchant:{holder.code};phone:{holder.operator_phone}"
        if isinstance(holder, House):
            return f"merchant:{holder.code}"
        cards = [account.card] if account.card else []
        if (line := holder.lines.get(bank)) and line.card:
            cards.append(line.card)
        return ";".join(
            [f"phone:{holder.bank_phone}", f"national_id_cn:{holder.national_id}"]
            + [f"card:{card}" for card in cards]
        )

    def _add(self, member: str, each: Movement, row: Row) -> None:
        rows = self.rows[member]
        row = row._replace(reference=f"r{len(rows) + 1:06d}")
        rows.append(row)
        if each.case:
            self.cases.setdefault(each.case, {}).setdefault(member, []).append(row.reference)
        key = (member, each.habit)
        self.habits[key] = self.habits.get(key, 0) + 1


class _Card(NamedTuple):
    bank: str
    number: str


def _card(method: Line | Account | Wallet) -> _Card | None:
    """The card that a method of payment works by, where it does."""
    if isinstance(method, Wallet) or method.card is None:
        return None
    return _Card(method.bank if isinstance(method, Account) else method.lender, method.card)


def _drawn(row: Row, line: Line | None) -> Row:
    """The row as its member sees it who lends, or not."""
    return row._replace(credit=True, limit=line.limit) if line else row
