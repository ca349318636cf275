"""Commands about what became of signals and matches: outcomes report, outcomes reliability."""

from collections.abc import Sequence
from typing import Any

import click

from signalexchange.cli.common import hex_bytes, json_option, note, print_json, print_table, with_client
from signalexchange.client import MAX_BATCH, ExchangeClient
from signalexchange.envelope import ID_SIZE
from signalexchange.v1.outcome_service_pb2 import (
    VERDICT_CONFIRMED,
    VERDICT_INCONCLUSIVE,
    VERDICT_REFUTED,
    Outcome,
    Reliability,
)

VERDICTS = {
    "confirmed": VERDICT_CONFIRMED,
    "refuted": VERDICT_REFUTED,
    "inconclusive": VERDICT_INCONCLUSIVE,
}
COLUMNS = ("of", "confirmed", "refuted", "prior", "mean", "factor")


@click.group()
def outcomes() -> None:
    """Say what became of signals and matches, and see whom that makes more or less believed."""


@outcomes.command()
@click.argument("signal_ids", metavar="[SIGNAL_ID]...", nargs=-1)
@click.option("--match", "match_ids", metavar="MATCH_ID", multiple=True, help="A match; repeat.")
@click.option(
    "--reference", "references", multiple=True, help="All signals of one's own under a reference; repeat."
)
@click.option("--verdict", type=click.Choice(list(VERDICTS)), required=True, help="What the inquiry found.")
@json_option
@with_client
async def report(
    client: ExchangeClient,
    signal_ids: Sequence[str],
    match_ids: Sequence[str],
    references: Sequence[str],
    verdict: str,
    as_json: bool,
) -> None:
    """Report a verdict on signals, of one's own or told by `watch`, and on matches.

    It is signed, logged and final. Refuting another's signal disputes it: until its issuer answers, or for
    the rulebook's days, it carries no advice above a further authentication. Refuting one's own ends it. To
    answer a dispute of one's own signal, report a verdict on it, again if need be.
    """
    signals = {hex_bytes(text, ID_SIZE, "a signal id") for text in signal_ids}
    for reference in references:
        found = client.journal.signals_of(reference)
        if not found:
            raise click.UsageError(f"the journal has no signal under the reference {reference!r}")
        signals |= {each.signal_id for each in found}
    matches = {hex_bytes(text, ID_SIZE, "a match id") for text in match_ids}
    given = [Outcome(signal_id=id_, verdict=VERDICTS[verdict]) for id_ in sorted(signals)]
    given += [Outcome(match_id=id_, verdict=VERDICTS[verdict]) for id_ in sorted(matches)]
    if not given:
        raise click.UsageError("give signal ids, --match or --reference")
    reports = [given[start : start + MAX_BATCH] for start in range(0, len(given), MAX_BATCH)]
    done = [await client.report_outcomes(each) for each in reports]
    if as_json:
        print_json(
            {
                "verdict": verdict,
                "signals": [id_.hex() for id_ in sorted(signals)],
                "matches": [id_.hex() for id_ in sorted(matches)],
                "reports": [
                    {"id": each.id.hex(), "index": each.index, "repeated": each.repeated} for each in done
                ],
            }
        )
    else:
        entries = ", ".join(str(each.index) for each in done)
        click.echo(
            f"{verdict}: {len(signals)} signals and {len(matches)} matches reported; log entry {entries}"
        )


@outcomes.command()
@json_option
@with_client
async def reliability(client: ExchangeClient, as_json: bool) -> None:
    """Show what outcomes say of one's own group as issuer, and of each code and pattern.

    `mean` is that of the posterior; `factor` is what scores multiply by. The factor moves only where two
    other groups say so.
    """
    answer = await client.reliability()
    if as_json:
        print_json(
            {
                "own": _document(answer.own),
                "codes": {each.code: _document(each.reliability) for each in answer.codes},
            }
        )
        return
    rows = [("own signals", *_row(answer.own))]
    rows += [(each.code, *_row(each.reliability)) for each in answer.codes]
    print_table(COLUMNS, rows)
    if not answer.codes:
        note("nobody has reported an outcome yet that counts")


def _row(reliability: Reliability) -> tuple[object, ...]:
    return (
        reliability.confirmed,
        reliability.refuted,
        f"{reliability.prior_confirmed}:{reliability.prior_refuted}",
        f"{reliability.mean / 1000:.3f}",
        f"{reliability.factor / 1000:.3f}",
    )


def _document(reliability: Reliability) -> dict[str, Any]:
    return {
        "confirmed": reliability.confirmed,
        "refuted": reliability.refuted,
        "prior_confirmed": reliability.prior_confirmed,
        "prior_refuted": reliability.prior_refuted,
        "mean_permille": reliability.mean,
        "factor_permille": reliability.factor,
    }
