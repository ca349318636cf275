"""Budgets: how many evaluations a controlling group may buy from this custodian.

Invariants: a charge is durable (WAL, synchronous FULL) before anything is evaluated; it is made whole or not
at all; the sum of charges of a bucket never exceeds its allowance, however many requests run at once and
however often the process restarts. Nothing is ever given back. For an intended total Q of t-of-n evaluations
a custodian allows ⌊Q·(t−1)/(n−1)⌋: then rotating the custodians asked, or running one, buys no more than Q.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiosqlite
from signalexchange.errors import ConfigError
from signalexchange.roster import Budget
from signalexchange.sealed_store import create_private
from signalexchange.v1 import token_service_pb2 as pb
from signalexchange.v1.error_reason_pb2 import ErrorReason

from exchange.domain.refusal import Refusal

DAY: Final = 86_400
_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE charge (
  controlling_group TEXT NOT NULL,
  identifier_type INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  bucket TEXT NOT NULL,
  used INTEGER NOT NULL,
  PRIMARY KEY (controlling_group, identifier_type, epoch, bucket)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class Allowance:
    """A bucket to charge: its stored name, its name in refusals, how much it holds, seconds to a new one."""

    bucket: str
    budget: str
    allowed: int
    renewed_in: float | None = None


def per_custodian(total: int, threshold: int, custodians: int) -> int:
    """⌊total·(t−1)/(n−1)⌋, what one custodian allows of an intended total; t is 2 to n."""
    return total * (threshold - 1) // (custodians - 1)


def allowances(
    budget: Budget | None, purpose: int, now: int, *, threshold: int, custodians: int
) -> list[Allowance]:
    """What an evaluation at `now` (Unix seconds; days are UTC days) is charged to; no budget allows nothing.

    TOKENISE charges the day's budget and the epoch's, ⌊declared customers × 1.2⌋; ROTATE an allowance of the
    epoch's size of its own.
    """
    day, epoch = (budget.per_day, budget.declared_customers * 6 // 5) if budget else (0, 0)
    day, epoch = (per_custodian(total, threshold, custodians) for total in (day, epoch))
    if purpose == pb.EVALUATION_PURPOSE_ROTATE:
        return [Allowance("rotation", "rotation", epoch)]
    return [
        Allowance("epoch", "epoch", epoch),
        Allowance(f"day {now // DAY}", "day", day, float(DAY - now % DAY)),
    ]


class Budgets:
    """The ledger of charges; open it once a process."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> "Budgets":
        """Open or create the ledger. Raises ConfigError for a file that can't be used."""
        try:
            create_private(path)
            db = await aiosqlite.connect(path, isolation_level=None)
        except OSError as error:
            raise ConfigError(f"{path}: can't open the budgets: {error.strerror}") from None
        except sqlite3.Error as error:
            raise ConfigError(f"{path}: can't open the budgets: {error}") from None
        try:
            await db.execute("PRAGMA journal_mode = WAL")
            await db.execute("PRAGMA synchronous = FULL")
            await db.execute("PRAGMA busy_timeout = 5000")
            version = await _number(db, "PRAGMA user_version")
            if version == 0:
                await db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            elif version != _FORMAT:
                raise ConfigError(f"{path}: budgets of format {version}; this version reads format {_FORMAT}")
        except sqlite3.Error as error:
            await db.close()
            raise ConfigError(f"{path}: can't open the budgets: {error}") from None
        except ConfigError:
            await db.close()
            raise
        return cls(db)

    async def close(self) -> None:
        """Close the file."""
        await self._db.close()

    async def charge(
        self, group: str, type_: int, epoch: int, amount: int, charged: Sequence[Allowance]
    ) -> None:
        """Charge `amount` (1 or more) to every allowance, durably, or to none.

        Raises Refusal BUDGET_EXHAUSTED (metadata: budget, allowed, remaining) where one does not hold that
        much, UNAVAILABLE where the charge can't be made durable.
        """
        # Not to be cancelled half-way: the connection would be left inside a transaction.
        await asyncio.shield(self._charge(group, type_, epoch, amount, charged))

    async def _charge(
        self, group: str, type_: int, epoch: int, amount: int, charged: Sequence[Allowance]
    ) -> None:
        async with self._lock:
            try:
                await self._db.execute("BEGIN IMMEDIATE")
                try:
                    for allowance in charged:
                        key = (group, type_, epoch, allowance.bucket)
                        used = await _number(self._db, _USED, key)
                        if used + amount > allowance.allowed:
                            raise _exhausted(allowance, used)
                        await self._db.execute(_CHARGE, (*key, amount))
                    await self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        await self._db.execute("ROLLBACK")
            except sqlite3.Error:
                raise Refusal(
                    ErrorReason.ERROR_REASON_UNAVAILABLE, "the budget can't be charged; nothing was evaluated"
                ) from None


_USED: Final = (
    "SELECT coalesce(max(used), 0) FROM charge"
    " WHERE controlling_group = ? AND identifier_type = ? AND epoch = ? AND bucket = ?"
)
_CHARGE: Final = (
    "INSERT INTO charge VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (controlling_group, identifier_type, epoch, bucket)"
    " DO UPDATE SET used = used + excluded.used"
)


async def _number(db: aiosqlite.Connection, query: str, values: Sequence[object] = ()) -> int:
    async with db.execute(query, values) as cursor:
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


def _exhausted(allowance: Allowance, used: int) -> Refusal:
    remaining = max(0, allowance.allowed - used)
    return Refusal(
        ErrorReason.ERROR_REASON_BUDGET_EXHAUSTED,
        f"the group's {allowance.budget} budget holds {remaining} more evaluations here; nothing was charged",
        metadata={
            "budget": allowance.budget,
            "allowed": str(allowance.allowed),
            "remaining": str(remaining),
        },
        retry_after=allowance.renewed_in,
    )
