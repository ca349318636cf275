"""Frozen form of rendered notices: their digests are signed in cases."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from signalexchange.notices.catalogue import Catalogue, parse_frame, parse_notices
from signalexchange.notices.law import parse_law
from signalexchange.notices.rendering import render_with

VECTORS: Any = json.loads((Path(__file__).parent / "notices.json").read_text("utf-8"))
CATALOGUE = Catalogue(
    [notice for name, rows in VECTORS["files"].items() for notice in parse_notices(name, json.dumps(rows))],
    parse_frame(json.dumps(VECTORS["frame"])),
    parse_law(json.dumps(VECTORS["law"])),
)


@pytest.mark.parametrize(
    "case", VECTORS["cases"], ids=lambda case: f"{case['code']}-{case['language']}-{case['form']}"
)
def test_a_rendered_notice(case: dict[str, Any]) -> None:
    rendered = render_with(
        CATALOGUE,
        case["code"],
        case["language"],
        VECTORS["values"],
        reason=case["reason"],
        form=case["form"],
    )
    assert rendered.text == case["text"]
    assert rendered.digest.hex() == case["digest"] == sha256(case["text"].encode()).hexdigest()
