"""`exchange-hub evaluate-detector`: own data, and a file's where there is one.

Invariant: the report is written whole or not at all; an interruption ends every process of the evaluation.
"""

from pathlib import Path

from rich.console import Console
from signalexchange.errors import MalformedError

from exchange.evaluation.detection import report
from exchange.evaluation.detection.evaluating import evaluate
from exchange.evaluation.detection.plan import Plan
from exchange.replay.generator import Size, generate
from exchange.replay.transactions import days_of, load

OWN_DATA = Size(customers=1_600, terminals=2_000, days=98, compromised_a_day=0.8, leaked_a_day=0.8)
SEED = 1


def run(folder: Path, transactions: Path | None, size: Size = OWN_DATA, plan: Plan | None = None) -> None:
    """Evaluate on generated transactions of `size`, then on those of a file, and write what came of it.

    Raises MalformedError for a file that can't be used, ProcessDiedError, ExchangeError.
    """
    console = Console(highlight=False)
    plan = plan or Plan()
    tables = {}
    if transactions is not None:
        tables[transactions.name] = load(transactions)
        days = days_of(tables[transactions.name])[1]
        if days < plan.least_days():
            raise MalformedError(
                f"{transactions}: column TX_DATETIME spans {days} days; there must be {plan.least_days()}"
            )
    console.print("making transactions of four institutions' customers")
    tables = {f"generated transactions (seed {SEED})": generate(SEED, size), **tables}
    found = []
    for source, table in tables.items():
        console.print(f"{source}: {table.num_rows:,} transactions", markup=False)
        found.append(evaluate(source, table, plan, console))
    document = report.document(found, plan)
    files = report.write(document, folder)
    report.show(document, console)
    console.print(f"written: {', '.join(map(str, files))}", markup=False, soft_wrap=True)
