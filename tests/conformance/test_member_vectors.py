"""Frozen forms a member's tools make: amount bands, canonical rows, batch ids and record commitments.

A change of an expected value is a change of the format: batches already published would be published again.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from signalexchange.journal import Journal
from signalexchange.signals import amount_band, record, record_commitment
from signalexchange.sources import read_drafts

FOLDER = Path(__file__).parent
BANDS = json.loads((FOLDER / "amount_bands.json").read_text())
BATCHES = json.loads((FOLDER / "batch_ids.json").read_text())


@pytest.mark.parametrize("case", BANDS["cases"], ids=lambda case: case["amount"])
def test_amount_bands(case: dict[str, str | int]) -> None:
    assert amount_band(Decimal(case["amount"])) == case["band"]


def test_batch_ids(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in BATCHES["rows"]))
    key = tmp_path / "journal.key"
    key.write_text(BATCHES["journal_key"] + "\n")
    key.chmod(0o600)
    records = [record(draft) for draft in read_drafts(rows)]
    assert [row.decode() for row in records] == BATCHES["records"]
    with Journal(tmp_path / "journal.db", key) as journal:
        assert journal.batch_id(records).hex() == BATCHES["batch_id"]
        assert journal.batch_id(records[:1]).hex() == BATCHES["batch_id_of_the_first_row"]
    salt = bytes.fromhex(BATCHES["salt"])
    assert record_commitment(salt, records[0]).hex() == BATCHES["record_commitment_of_the_first_row"]
