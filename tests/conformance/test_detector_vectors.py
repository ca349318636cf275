"""The frozen form of a model file: what a member kept reads on, and scores as it did."""

import json
from pathlib import Path

import numpy as np
import pytest
from signalexchange.detector.model import read_model, write_model

VECTOR = json.loads((Path(__file__).parent / "detector_model.json").read_text())
FEATURES = ("customer.large.10m", "merchant.frauds.7d", "customer.hour", "shared.score")


def test_a_model_file_reads_scores_and_writes_as_it_did(tmp_path: Path) -> None:
    path = tmp_path / VECTOR["name"]
    path.write_text(VECTOR["text"])
    model = read_model(path, FEATURES)
    rows = np.array([[np.nan if value is None else value for value in row] for row in VECTOR["rows"]])
    assert model.scores(rows) == pytest.approx(VECTOR["scores"], rel=1e-12)
    assert model.probabilities(rows) == pytest.approx(VECTOR["probabilities"], rel=1e-12)
    assert model.contributions(rows) == pytest.approx(np.array(VECTOR["contributions"]), rel=1e-9, abs=1e-12)
    again = write_model(model, tmp_path)
    assert (again.name, again.read_text()) == (VECTOR["name"], VECTOR["text"])
