"""The command `replay`: every score on the log, worked out once more from the hub's database."""

from pathlib import Path

import click
from rich.console import Console
from signalexchange.cli.common import print_table

from exchange.cli.common import FOLDER, json_option, plain_errors, print_json
from exchange.progress import Steps
from exchange.storage.archive import open_archive
from exchange.usecases.replay.report import ReplayReport, What
from exchange.usecases.replay.walk import replay as read_again


@click.command()
@click.argument("folder", type=FOLDER)
@json_option
@plain_errors
def replay(folder: Path, as_json: bool) -> None:
    """Work out each score on the log in FOLDER once more: a stopped hub's data_dir, or a copy of one.

    Nothing in it is changed. Prints how much came out again, what differs, and what can't be told any more,
    and why; ends with 1 where anything differs.
    """
    with (
        open_archive(folder) as archive,
        Steps(Console(stderr=True), "replaying", archive.size(), "entries") as steps,
    ):
        report = read_again(archive, lambda done, of: steps.step(""))
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _print(report: ReplayReport) -> None:
    rows: list[tuple[object, ...]] = []
    for what in What:
        rows.append((what.value, "reproduced", report.reproduced[what], ""))
        rows += [
            (what.value, "unverifiable", count, why.value)
            for (each, why), count in sorted(report.unverifiable.items())
            if each == what
        ]
        if report.differing[what]:
            rows.append((what.value, "DIFFERING", report.differing[what], ""))
    rows += [(each.what.value, "DIFFERS", f"entry {each.entry}", each.says) for each in report.differences]
    print_table(("what", "", "how many", ""), rows)
    verdict = "reproduced" if report.ok else "NOT reproduced"
    click.echo(f"{verdict}: {report.size} entries, root {report.root.hex()}")
