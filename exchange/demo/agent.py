"""One member of the demo, a process of its own:
`python -m exchange.demo.agent CONFIG BOOKS FOLDER FIRST DAY`.

It answers each line of JSON on standard input with one on standard output, and ends with its input.

Invariants: it knows its own books and what the exchange answers, nothing else; what it publishes happened at
least DELAY ago; what it ranks a payment by was known that morning.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from signalexchange.client import MAX_BATCH, ExchangeClient
from signalexchange.collect import keep_receipts
from signalexchange.config import load_config
from signalexchange.errors import RefusedError
from signalexchange.rulebook import Rulebook
from signalexchange.signals import SignalDraft, Subject, cut
from signalexchange.v1.identifier_pb2 import IDENTIFIER_TYPE_MERCHANT, IDENTIFIER_TYPE_PHONE

from exchange.demo import risk
from exchange.demo.books import Books, Fraud
from exchange.demo.desk import PATIENCE, FlowDesk
from exchange.demo.ranking import Ranking
from exchange.demo.risk import TerminalRisk
from exchange.demo.watching import Watch
from exchange.replay.processes import serve

PURPOSE = "transaction-screening"
_DIGITS = 6  # of a score: what rounding leaves behind must not part what is equal
_EXAMPLES = 3


class Member:
    """A member at work. Times are Unix seconds."""

    def __init__(self, client: ExchangeClient, rulebook: Rulebook, books: Books, evaluated_from: int) -> None:
        """Payments are ranked from day `evaluated_from` on."""
        self._client = client
        self._books = books
        self._evaluated_from = evaluated_from
        self._risk = TerminalRisk(rulebook)
        self._known_until = 0
        self._counts = dict.fromkeys(("signals_published", "lookups", "terminals_looked_up", "hits"), 0)
        kinds = ("all", "scenario_2") if books.has_scenarios else ("all",)
        self._rankings = {kind: {view: Ranking() for view in ("own_view", "with_exchange")} for kind in kinds}
        self._examples: list[str] = []

    async def publish(self, now: int) -> int:
        """Publish the frauds that have become known since the last time; how many signals."""
        known, self._known_until = self._known_until, now - risk.DELAY
        frauds = self._books.known(known, self._known_until)
        for start in range(0, len(frauds), MAX_BATCH):
            part = [_draft(fraud, now) for fraud in frauds[start : start + MAX_BATCH]]
            await self._client.publish(part, now=now, timeout=PATIENCE)
        for fraud in frauds:
            self._risk.report(fraud.merchant, cut(fraud.time), now)
        self._counts["signals_published"] += len(frauds)
        return len(frauds)

    async def screen(self, now: int, day: int) -> int:
        """Ask about the terminals of a day's payments and rank these; how many look-ups."""
        payments = self._books.day(day)
        scores = await self._ask(list(payments), PURPOSE)
        lookups = -(-len(payments) // MAX_BATCH)
        self._counts["lookups"] += lookups
        self._counts["terminals_looked_up"] += len(payments)
        self._counts["hits"] += len(scores)
        self._examples = sorted(scores, key=lambda merchant: -scores[merchant])[:_EXAMPLES] or self._examples
        if day >= self._evaluated_from:
            self._rank(now, payments, scores)
        return lookups

    async def _ask(self, merchants: Sequence[str], purpose: str) -> dict[str, int]:
        """The scores, in permille, of those merchants of which others have reported something."""
        tokens = await self._client.tokens(IDENTIFIER_TYPE_MERCHANT, merchants)
        answers = await self._client.look_up(purpose, tokens, timeout=PATIENCE)
        return {
            merchant: answer.risk.score
            for merchant, answer in zip(merchants, answers, strict=True)
            if answer.risk is not None
        }

    def _rank(self, now: int, payments: Mapping[str, Any], scores: Mapping[str, int]) -> None:
        for merchant, cell in payments.items():
            own = self._risk.own_view(merchant, now)
            shared = own + (self._risk.from_others(scores[merchant]) if merchant in scores else 0.0)
            for view, score in (("own_view", own), ("with_exchange", shared)):
                row = round(score, _DIGITS), cell.payments
                self._rankings["all"][view].merge([(*row, cell.frauds)])
                if self._books.has_scenarios:
                    self._rankings["scenario_2"][view].merge([(*row, cell.at_compromised)])

    async def plant(self, value: str) -> str:
        """Send a request with a raw identifier where none belongs; the reason it was refused for."""
        try:
            await self._ask(list(self._books.day(0))[:1], value)
        except RefusedError as refused:
            return refused.reason
        return ""

    def summary(self, evidence: Path) -> dict[str, Any]:
        """What was done, for the report; `examples` are merchants that others have reported.

        The receipts go into the auditor's evidence, so that the log is held to what the hub acknowledged.
        """
        keep_receipts(self._client.journal, evidence)
        return {
            "counts": {"transactions": self._books.transactions, **self._counts},
            "has_scenarios": self._books.has_scenarios,
            "rankings": {
                kind: {view: ranking.rows() for view, ranking in views.items()}
                for kind, views in self._rankings.items()
            },
            "examples": self._examples,
        }


def _draft(fraud: Fraud, now: int) -> SignalDraft:
    """A fraud as a signal on the terminal, with the card holder as the other end of the payment."""
    return SignalDraft(
        subject=Subject(IDENTIFIER_TYPE_MERCHANT, fraud.merchant),
        counterparty=Subject(IDENTIFIER_TYPE_PHONE, fraud.phone),
        code=risk.CODE,
        confidence=risk.CONFIDENCE,
        grade=risk.GRADE,
        first_seen=fraud.time,
        last_seen=fraud.time,
        expires_at=now + risk.MEMORY,
        amount=Decimal(str(fraud.amount)) if fraud.amount > 0 else None,
        reference=f"transaction {fraud.transaction}",
        detail=f"fraudulent payment of CNY {fraud.amount:.2f}",
    )


async def _answer(member: Member, desk: FlowDesk, watch: Watch, request: Mapping[str, Any]) -> dict[str, Any]:
    match request["command"]:
        case "start":
            await desk.open()
            return {}
        case "publish":
            return {"signals": await member.publish(request["now"])}
        case "flows":
            return {"signals": await desk.publish(request["now"])}
        case "matches":
            await desk.settle()
            return desk.summary()
        case "disclose":
            return {"signals": desk.disclose(request["places"])}
        case "screen":
            return {"lookups": await member.screen(request["now"], request["day"])}
        case "watch":
            return {"lines": await watch.day(request["now"], request["day"])}
        case "control":
            return {"refused": await member.plant(request["value"])}
        case "summary":
            return member.summary(Path(request["evidence"])) | {"detector": watch.summary()}
        case command:
            raise ValueError(f"unknown command {command}")


async def main(config: Path, books: Path, folder: Path, first: int, evaluated_from: int) -> None:
    """Serve the commands of standard input until it ends."""
    async with ExchangeClient.from_config(load_config(config)) as client:
        kept = Books(books, first)
        member = Member(client, await client.roster.rulebook(), kept, evaluated_from)
        desk = FlowDesk(client, folder)
        with Watch(client, kept, folder / "detector", evaluated_from) as watch:
            await serve(lambda request: _answer(member, desk, watch, request))
            await watch.close()


if __name__ == "__main__":
    _config, _books, _folder, _first, _evaluated_from = sys.argv[1:]
    asyncio.run(main(Path(_config), Path(_books), Path(_folder), int(_first), int(_evaluated_from)))
