"""The command `signalexchange`: what members and auditors run. Exit codes are in its --help."""

import os

# Set before gRPC is imported: its own lines would stand between those that people and scripts read.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from pathlib import Path

import click

from signalexchange.cli.asking import look_up, subscribe, tokenise, unsubscribe, watch
from signalexchange.cli.cases import cases
from signalexchange.cli.common import Commands, Settings
from signalexchange.cli.decisions import decision, models
from signalexchange.cli.detect import detect
from signalexchange.cli.disclosures import disclosures
from signalexchange.cli.doctor import doctor
from signalexchange.cli.evidence import evidence
from signalexchange.cli.flows import publish_flows
from signalexchange.cli.journal import journal
from signalexchange.cli.log import log
from signalexchange.cli.matches import matches
from signalexchange.cli.notices import notices
from signalexchange.cli.outcomes import outcomes
from signalexchange.cli.publishing import publish, withdraw
from signalexchange.cli.roster import roster


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="signalexchange")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("member.toml"),
    show_default=True,
    envvar="SIGNALEXCHANGE_CONFIG",
    show_envvar=True,
    help="The member's configuration.",
)
@click.pass_context
def main(context: click.Context, config_path: Path) -> None:
    """Take part in the partner-signal exchange: tokens, signals, look-ups, checks of the hub's log.

    Identifiers never leave this machine; tokens computed with the custodians do.

    Exit codes: 0 done, 1 refused, 2 wrong use, configuration or input, 3 not verified, 4 unreachable.
    """
    context.obj = Settings(config_path)


_COMMANDS = (
    tokenise,
    look_up,
    subscribe,
    unsubscribe,
    watch,
    publish,
    publish_flows,
    withdraw,
    detect,
    decision,
    models,
    matches,
    cases,
    outcomes,
    disclosures,
    evidence,
    journal,
    log,
    roster,
    notices,
)
for _command in (*_COMMANDS, doctor):
    main.add_command(_command)
