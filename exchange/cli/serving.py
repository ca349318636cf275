"""The long-running processes: `serve`, `custodian serve`."""

import asyncio
import gc
import sys
from pathlib import Path

import click

from exchange.cli.common import FILE, plain_errors
from exchange.custodian import config as custodian_config
from exchange.custodian import process as custodian_process
from exchange.server import app as hub
from exchange.server import config as hub_config


@click.command()
@click.argument("config", type=FILE)
@plain_errors
def serve(config: Path) -> None:
    """Run the hub that CONFIG, a TOML file, describes, until SIGTERM; SIGHUP reads the key manifest again.

    The certificate, its key and the callers' authority are read again by themselves when they change.
    """
    loaded = hub_config.load_config(config)
    # What start-up allocated stays: freezing it spares the collector from walking it again and again.
    gc.freeze()
    sys.exit(asyncio.run(hub.serve(loaded)))


@click.group()
def custodian() -> None:
    """Run a custodian, which holds one share of every token key."""


@custodian.command("serve")
@click.argument("config", type=FILE)
@plain_errors
def custodian_serve(config: Path) -> None:
    """Run the custodian that CONFIG, a TOML file, describes, until SIGTERM; SIGHUP reads its files again.

    Changed files are read by themselves: roster, manifest and shares within seconds, TLS files at handshakes.
    """
    asyncio.run(custodian_process.serve(custodian_config.load_config(config)))
