"""The frozen form of a snapshot: a state that a member kept is read on."""

import base64
import json
from pathlib import Path
from typing import Any

from signalexchange.detector.snapshot import read_snapshot

VECTOR = json.loads((Path(__file__).parent / "detector_snapshot.json").read_text("utf-8"))


def read(folder: Path, file: dict[str, Any]) -> tuple[int, list[Any]]:
    (folder / file["name"]).write_bytes(base64.b64decode(file["data"]))
    found = read_snapshot(folder, bytes.fromhex(VECTOR["secret"]))
    assert found is not None
    return found[0], list(found[1])


def test_a_snapshot_of_one_chunk_reads_as_it_did(tmp_path: Path) -> None:
    assert read(tmp_path, VECTOR["one_chunk"]) == (42, VECTOR["one_chunk"]["records"])


def test_a_line_that_goes_on_in_the_next_chunk_reads_as_it_did(tmp_path: Path) -> None:
    file = VECTOR["two_chunks"]
    assert read(tmp_path, file) == (43, [["learner", {"rows": "x" * file["repeats"]}], ["end", 1]])
