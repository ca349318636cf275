"""Tables on terminals of any width: ids stay whole, cells are shown as they are."""

import sys

import click
import pytest
from signalexchange.cli.common import print_table

ID = "e6672a761050dd4b653f8026fdcaced5"
COLUMNS = ("case", "opened", "measure", "explanation", "due", "appeal", "outcome", "groups", "references")
ROW = (ID, "2026-11-23", "restrict", "overdue", "2026-11-30 16:47Z", "-", "inconclusive", 1, "loan-[/b]-881")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_an_id_can_be_copied_from_a_terminal_of_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(COLUMNS, [ROW, ROW])
    shown = click.unstyle(capsys.readouterr().out)
    # Beside its name there is no room for an id on 40 columns: it goes on in the next line.
    assert shown.count(ID if width > 40 else ID[:20]) == 2
    assert shown.count("loan-[/b]-881") == 2
    assert max(map(len, shown.splitlines())) <= width


def test_a_table_with_room_has_one_header(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(COLUMNS, [ROW, ROW])
    assert capsys.readouterr().out.count("measure") == 1
