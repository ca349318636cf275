"""What the demo refuses before it starts anything."""

import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pytest
from signalexchange.errors import ConfigError, MalformedError

from exchange.demo.run import DemoOptions, run
from exchange.replay import generator


def test_a_hub_needs_none_of_the_demos_libraries() -> None:
    code = "import sys, exchange.demo.run; sys.exit(bool({'pyarrow', 'ahocorasick'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def short_file(folder: Path, days: int) -> Path:
    table = generator.generate(1, generator.Size(customers=20, terminals=40, days=days))
    pyarrow.csv.write_csv(table, folder / "t.csv")
    return folder / "t.csv"


def test_a_bad_file_is_refused_before_an_earlier_report_is_lost(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / ".exchange-hub-demo").touch()
    (tmp_path / "demo" / "report.json").touch()
    with pytest.raises(MalformedError, match="no such file"):
        run(DemoOptions(folder=tmp_path / "demo", transactions=tmp_path / "absent.csv"))
    assert (tmp_path / "demo" / "report.json").exists()


def test_a_file_too_short_to_rank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"TX_DATETIME spans 28 days"):
        run(DemoOptions(folder=tmp_path / "demo", transactions=short_file(tmp_path, 28)))
    assert not (tmp_path / "demo").exists()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = short_file(tmp_path, 30)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters").touch()
    with pytest.raises(ConfigError, match="left alone"):
        run(DemoOptions(folder=tmp_path / "mine", transactions=path))


def test_a_file_inside_the_folder_to_be_emptied_is_refused(tmp_path: Path) -> None:
    path = short_file(tmp_path, 30)
    with pytest.raises(ConfigError, match="which the demo empties"):
        run(DemoOptions(folder=tmp_path, transactions=path))
    assert path.exists()
