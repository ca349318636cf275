"""`exchange-hub evaluate-detector`: own data, and a file's where there is one.

Invariant: the report is written whole or not at all; an interruption ends every process of the evaluation.
"""

from pathlib import Path

from rich.console import Console
from signalexchange.errors import MalformedError

from exchange.evaluation.detection import report
from exchange.evaluation.detection.evaluating import Evaluated, evaluate
from exchange.evaluation.detection.plan import Plan
from exchange.replay.generator import Size, generate
from exchange.replay.transactions import Table, days_of, load

OWN_DATA = Size(customers=800, terminals=1_000, days=91, compromised_a_day=1.0, leaked_a_day=0.8)
SEED = 1


def run(folder: Path, transactions: Path | None, size: Size = OWN_DATA, plan: Plan | None = None) -> None:
    """Evaluate on generated transactions of `size`, then on those of a file, and write what came of it.

    Raises MalformedError for a file that can't be used, ProcessDiedError, ExchangeError.
    """
    console = Console(highlight=False)
    plan = plan or Plan()
    given = None if transactions is None else load(transactions)
    if given is not None and days_of(given)[1] < plan.least_days():
        raise MalformedError(
            f"{transactions}: column TX_DATETIME spans {days_of(given)[1]} days; "
            f"there must be {plan.least_days()}"
        )
    console.print("making transactions of four institutions' customers")
    found = [_evaluate(f"generated transactions (seed {SEED})", generate(SEED, size), False, plan, console)]
    if given is not None and transactions is not None:
        found.append(_evaluate(transactions.name, given, True, plan, console))
    document = report.document(found, plan)
    files = report.write(document, folder)
    report.show(document, console)
    console.print(f"written: {', '.join(map(str, files))}", markup=False, soft_wrap=True)


def _evaluate(source: str, table: Table, comparable: bool, plan: Plan, console: Console) -> Evaluated:
    console.print(f"{source}: {table.num_rows:,} transactions", markup=False)
    return evaluate(source, comparable, table, plan, console)
