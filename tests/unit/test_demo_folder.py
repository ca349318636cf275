"""The demo empties its own folder and no other."""

from pathlib import Path

import pytest
from signalexchange.errors import ConfigError

from exchange.demo.folder import MARKER, fresh


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    with fresh(tmp_path / "a" / "b") as folder:
        assert (folder / MARKER).is_file()
    (tmp_path / "empty").mkdir()
    with fresh(tmp_path / "empty"):
        pass


def test_an_earlier_demo_is_cleared_away(tmp_path: Path) -> None:
    with fresh(tmp_path / "demo") as folder:
        (folder / "hub").mkdir()
        (folder / "hub" / "db").touch()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "kept").touch()
        (folder / "link").symlink_to(tmp_path / "elsewhere")
    with fresh(tmp_path / "demo") as folder:
        assert [path.name for path in folder.iterdir()] == [MARKER]
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="left alone"), fresh(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(ConfigError, match="not a folder"), fresh(tmp_path / "thesis.txt"):
        pass


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with fresh(tmp_path / "demo") as folder:
        (folder / "work").touch()
        with pytest.raises(ConfigError, match="a demo is running there"), fresh(tmp_path / "demo"):
            pass
        assert (folder / "work").exists()
