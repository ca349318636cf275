"""The page on the detector shows its settings as they are."""

import re
from pathlib import Path

from signalexchange.detector.settings import DetectorSettings, load_detector_settings

from tests.support.pages import ROOT


def shown(tmp_path: Path, *, uncommented: bool) -> Path:
    """The page's settings as a file, with the parts that are commented out or without."""
    page = (ROOT / "docs/detector.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    if uncommented:
        block = re.sub(r"^# ?", "", block, flags=re.M)
        # A key of the top stands before the tables; its table of columns is a section of its own.
        block = block.replace("publish = []\n", "")
    path = tmp_path / "detector.toml"
    path.write_text(block, "utf-8")
    return path


def test_what_the_page_shows_is_the_default(tmp_path: Path) -> None:
    assert load_detector_settings(shown(tmp_path, uncommented=False)) == DetectorSettings()


def test_what_the_page_comments_out_can_be_used(tmp_path: Path) -> None:
    found = load_detector_settings(shown(tmp_path, uncommented=True))
    assert found.exchange is not None
    assert found.exchange.types.keys() == {"customer", "merchant", "payee"}
    assert found.exchange.asked.keys() == {"merchant", "payee"}
    assert [each.code for each in found.publish] == ["terminal-compromised"]
