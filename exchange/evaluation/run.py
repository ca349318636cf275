"""`exchange-hub evaluate`: cities nobody tuned on, several at once, and what came of them.

Invariant: the report is written whole or not at all; an interruption ends every process of the evaluation.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console

from exchange.evaluation import report, seeds
from exchange.evaluation.city import Found, evaluate
from exchange.progress import Steps
from exchange.scenario.city import Size


def run(folder: Path, count: int, chosen: tuple[int, ...] = (), size: Size | None = None) -> None:
    """Evaluate `count` fresh cities, or those of the seeds `chosen`, and write what came of it."""
    console = Console(highlight=False)
    started = time.monotonic()
    drawn = list(chosen) or seeds.fresh(count)
    found: list[Found] = []
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        futures = [pool.submit(evaluate, seed, size) for seed in drawn]
        try:
            with Steps(console, "evaluating", len(drawn), "cities") as steps:
                for future in as_completed(futures):
                    each = future.result()
                    found.append(each)
                    score = each.exchange
                    steps.step(
                        f"seed {each.seed}: precision {score.precision:.3f}, recall {score.recall:.3f}"
                    )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    found.sort(key=lambda each: drawn.index(each.seed))
    document = report.document(found, seeds.digest(), time.monotonic() - started)
    report.write(document, found, folder)
    report.show(document, console)
    console.print(f"written: {folder / 'report.json'}, {folder / 'recall.svg'}")
