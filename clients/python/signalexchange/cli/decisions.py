"""The commands that ask a detector's state: what was decided and why, and its model versions."""

from datetime import UTC, datetime
from pathlib import Path

import click

from signalexchange.cli.common import note, print_json, print_table
from signalexchange.errors import ConfigError

state_option = click.option(
    "--state",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the detector's journal, key and model versions; made where there is none.",
)
settings_option = click.option(
    "--settings",
    "settings_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The detector's settings, a TOML file; docs/detector.md has every key.",
)


@click.command()
@click.argument("transaction_id", metavar="ID")
@state_option
@settings_option
def decision(transaction_id: str, state: Path, settings_path: Path | None) -> None:
    """Show what was decided on transaction ID, why, and by which model and rules."""
    need_libraries()
    from signalexchange.detector.journal import DetectorJournal
    from signalexchange.detector.settings import DetectorSettings, load_detector_settings

    loaded = load_detector_settings(settings_path) if settings_path is not None else DetectorSettings()
    with DetectorJournal(_existing(state), loaded.key, reading=True) as journal:
        found = journal.decision(transaction_id)
    if found is None:
        raise ConfigError(f"{state}: no decision on a transaction of that id is kept")
    print_json({"number": found.number} | found.document)


@click.command()
@state_option
@settings_option
@click.option("--rollback", is_flag=True, help="Drop the version in force and go back to the one before.")
def models(state: Path, settings_path: Path | None, rollback: bool) -> None:
    """List the detector's model versions, or go back to the one before."""
    need_libraries()
    from signalexchange.detector.detector import Detector
    from signalexchange.detector.engine import ROW
    from signalexchange.detector.journal import MODELS, DetectorJournal
    from signalexchange.detector.settings import DetectorSettings, load_detector_settings
    from signalexchange.detector.versions import read_versions

    loaded = load_detector_settings(settings_path) if settings_path is not None else DetectorSettings()
    with DetectorJournal(_existing(state), loaded.key, reading=not rollback) as journal:
        if rollback:
            Detector.open(loaded, journal).rollback()
        versions = read_versions(state / MODELS, ROW)
    if not versions:
        note("there is no model: rules decide alone")
        return
    print_table(
        ("version", "made", "trained on", "average precision", "before it", "in force"),
        [
            (
                each.version,
                when(each.document.made_at),
                f"{each.document.trained.rows} rows, {each.document.trained.frauds} frauds",
                f"{each.document.judgement.average_precision:.3f}",
                f"{each.document.judgement.before:.3f}",
                "yes" if each is versions[-1] else "",
            )
            for each in versions
        ],
    )


def _existing(state: Path) -> Path:
    if not (state / "journal.db").is_file():
        raise ConfigError(f"{state}: no detector's state")
    return state


def need_libraries() -> None:
    """Raise ConfigError where what the detector stands on is not installed."""
    try:
        import lightgbm  # noqa: F401
        import numpy  # noqa: F401
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"the detector's libraries lack ({error}); run: pip install 'signalexchange[detector]';"
            " on Linux they need libgomp1"
        ) from None


def when(moment: int) -> str:
    """A time, Unix seconds, for people: UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
