"""The command `exchange-hub`: mistakes are one line, and nothing is written before they are found."""

import json
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from signalexchange.config import load_config
from signalexchange.journal import Journal

from exchange.cli import main
from exchange.provision import FOUNDERS, Plan, provision


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def one_line(result: Any, code: int) -> str:
    """The error line of a command that ended with the code, and not with a traceback."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    line: str = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    ("parties", "expected"),
    [
        (("bank-a:bank:g", "bank-a:bank:h"), "bank-a is given twice"),
        (("A B/../x:bank:g",), "'A B/../x' is not an id"),
        (("../x:bank:g",), "'../x' is not an id"),
        (("bank-a:bank:../g",), "'../g' is not an id"),
        ((":bank:g",), "'' is not an id"),
        (("bank-a:shop:g",), "KIND one of"),
        (("bank-a",), "KIND one of"),
    ],
)
def test_a_bad_party_is_refused_before_anything_is_written(
    tmp_path: Path, parties: tuple[str, ...], expected: str
) -> None:
    folder = tmp_path / "made" / "trial"
    options = [each for party in parties for each in ("--party", party)]
    assert expected in one_line(invoke("init", str(folder), *options), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("origin", ["", "a b", "x+y", "a\nb", "x" * 241, "exchange.test/replay"])
def test_a_bad_origin_is_refused_before_anything_is_written(tmp_path: Path, origin: str) -> None:
    assert "the origin is" in one_line(invoke("init", str(tmp_path / "trial"), "--origin", origin), 1)
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_line_that_names_the_path(tmp_path: Path) -> None:
    assert "/proc/nowhere" in one_line(invoke("init", "/proc/nowhere"), 1)
    assert "/proc/nowhere" in one_line(invoke("key", "new", "/proc/nowhere/a.key"), 1)
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in one_line(invoke("init", str(file)), 1)


def test_every_party_of_a_trial_has_a_journal(tmp_path: Path) -> None:
    made = invoke("init", str(tmp_path / "trial"), "--json")
    assert made.exit_code == 0, made.output
    document = json.loads(made.stdout)
    assert set(document["parties"]) == {party.id for party in FOUNDERS}
    for name, path in document["parties"].items():
        config = load_config(Path(path))
        assert config.member == name
        assert config.journal is not None
        Journal(config.journal.path, config.journal.key).close()
    assert Path(document["hub"]).is_file()
    assert all(Path(path).is_file() for path in document["custodians"].values())


def test_key_and_ceremony_print_json_for_scripts(tmp_path: Path) -> None:
    key = json.loads(invoke("key", "new", str(tmp_path / "a.key"), "--name", "a", "--json").stdout)
    assert key["path"] == str(tmp_path / "a.key")
    assert key["verifier_key"].startswith("a+")
    assert len(b64decode(key["public_key"])) == 32
    assert "verifier_key" not in json.loads(invoke("key", "new", str(tmp_path / "b.key"), "--json").stdout)
    trial = provision(tmp_path / "trial", Plan())
    now = int(time.time())
    rosters = ("--roster", str(trial.rosters))
    dealt = invoke(
        *("ceremony", "deal", str(tmp_path / "dealt"), *rosters, "--type", "phone", "--epoch", "1"),
        *("--valid-from", str(now), "--valid-until", str(now + 86_400), "--json"),
    )
    assert dealt.exit_code == 0, dealt.output
    files = json.loads(dealt.stdout)
    assert set(files["shares"]) == set(trial.plan.custodians)
    name = next(iter(files["shares"]))
    signed = invoke(
        *("ceremony", "cosign", files["manifest"], *rosters, "--shares", files["shares"][name]),
        *("--key", str(trial.folder / "custodians" / name / "manifest.key"), "--name", name, "--json"),
    )
    assert json.loads(signed.stdout) == {"manifest": files["manifest"], "signed_by": name}


def test_a_gap_in_the_chain_is_named(tmp_path: Path) -> None:
    made = provision(tmp_path / "exchange", Plan())
    (made.rosters / "0003.note").write_bytes(made.genesis.read_bytes())
    line = one_line(invoke("roster", "show", str(made.rosters)), 1)
    assert "0002.note is missing" in line
