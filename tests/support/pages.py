"""README.md and the pages under docs/, read as prose, code spans, fenced blocks and tables."""

import re
from pathlib import Path
from typing import NamedTuple

from signalexchange.v1 import (
    case_service_pb2,
    disclosure_service_pb2,
    error_reason_pb2,
    identifier_pb2,
    log_entry_pb2,
    match_service_pb2,
    membership_service_pb2,
    notice_service_pb2,
    outcome_service_pb2,
    signal_pb2,
    signal_service_pb2,
    token_service_pb2,
    transparency_service_pb2,
)

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md")) + [path for path in [ROOT / "README.md"] if path.exists()]
CONTRACT = (
    case_service_pb2, disclosure_service_pb2, error_reason_pb2, identifier_pb2, log_entry_pb2,
    match_service_pb2, membership_service_pb2, notice_service_pb2, outcome_service_pb2, signal_pb2,
    signal_service_pb2,
    token_service_pb2, transparency_service_pb2,
)  # fmt: skip


class Fence(NamedTuple):
    """A fenced block: its language, its lines, and the comment right in front of it."""

    language: str
    text: str
    comment: str


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page).replace("\\|", "|"))


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page."""
    found = re.findall(
        r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), flags=re.M | re.S
    )
    return [Fence(language, text, comment) for comment, language, text in found]


def table(kind: str) -> list[list[str]]:
    """Rows, without the heading, of the table behind a comment, wherever it is."""
    for page in PAGES:
        found = re.search(rf"^<!-- {kind} -->\n((?:\|.*\n)+)", page.read_text("utf-8"), flags=re.M)
        if found:
            rows = found[1].splitlines()[2:]
            return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]
    raise AssertionError(f"no table {kind}")


def slug(heading: str) -> str:
    """The anchor that a heading gets when it is rendered."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
