"""The command `exchange-hub`: mistakes are one line, and nothing is written before they are found."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exchange.cli import main


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
