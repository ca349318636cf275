"""The command `exchange-hub`: what operators, custodians and governance run. The composition root.

Exit codes: 0 done, 1 refused or not verified, 2 wrong use, 74 storage failed (docs/operations.md). Errors are
one line on standard error that says what to do.
"""

import os

# Set before gRPC is imported: its own lines on standard error would stand between the JSON lines of the log.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import click

from exchange.cli.ceremony import ceremony_group
from exchange.cli.deployment import init
from exchange.cli.replay import replay
from exchange.cli.roster import key, roster
from exchange.cli.serving import custodian, serve
from exchange.cli.trials import demo, evaluate, evaluate_detector, scenario


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="partner-signal-exchange")
def main() -> None:
    """Run and administer the partner-signal exchange."""


_TRIALS = (demo, scenario, evaluate, evaluate_detector)
for _command in (init, serve, custodian, ceremony_group, roster, key, replay, *_TRIALS):
    main.add_command(_command)
