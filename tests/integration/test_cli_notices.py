"""The commands about notices: without a hub, in both languages, for people and for scripts."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from signalexchange.cli import main
from signalexchange.rulebook import default_text

FREEZE = ("institution=Bank North", "contact=95500", "reference=case-1")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["notices", *arguments])


def document(*arguments: str) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def values(*given: str) -> list[str]:
    return [word for each in given for word in ("--value", each)]


def test_listing_and_showing() -> None:
    everything = document("list")
    assert {each["kind"] for each in everything} == {"action", "step", "reason", "pattern", "education"}
    reasons = document("list", "--kind", "reason", "--language", "en")
    assert {each["kind"] for each in reasons} == {"reason"}
    assert "not yet reviewed by counsel" in invoke("list").stdout
    shown = document("show", "advice-freeze", "--language", "en")
    assert shown["reasons"] == "on-request"
    assert [part["name"] for part in shown["parts"]] == ["seen", "means", "options", "law", "next"]
    assert "the right to the reasons" in invoke("show", "advice-freeze", "--language", "en").stdout
    assert invoke("show", "nonsense").exit_code == 2


def test_rendering(tmp_path: Path) -> None:
    result = invoke("render", "advice-freeze", *values(*FREEZE), "--language", "en")
    assert result.exit_code == 0
    assert sha256(result.stdout.encode()).hexdigest() in result.stderr
    page = tmp_path / "notice.html"
    answer = document("render", "advice-freeze", *values(*FREEZE), "--html", str(page))
    assert sha256(page.read_bytes()).hexdigest() == answer["digest"]
    assert page.read_text("utf-8").startswith("<!doctype html>")
    explained = (*FREEZE, "merchant=Shop", "amount=500", "deadline=2026-12-01T18:00+08:00")
    asked = document("render", "advice-explain", *values(*explained), "--reason", "mule-account")
    assert "2026年12月1日18:00" in asked["text"]
    assert "代收代转" in asked["text"]


def test_what_is_wrong_is_said_in_a_line() -> None:
    missing = invoke("render", "advice-freeze", *values(*FREEZE[:2]))
    assert missing.exit_code == 3
    assert "reference has no value" in missing.stderr
    for given in ("reference", "institution=twice"):
        assert invoke("render", "advice-freeze", *values(*FREEZE, given)).exit_code == 2
    for time in ("deadline=2026-12-01", "deadline=soon"):
        assert invoke("render", "step-explanation-asked", *values(*FREEZE, time)).exit_code == 2


def test_education(tmp_path: Path) -> None:
    topics = {each["topic"] for each in document("education")}
    assert {"cost", "how-it-works", "liability"} <= topics
    assert "到手9,200元" in invoke("education", "cost").stdout
    assert document("education", "cost", "--language", "en")["code"] == "education-cost"
    page = tmp_path / "cost.html"
    assert invoke("education", "cost", "--html", str(page)).exit_code == 0
    assert "10,000" in page.read_text("utf-8")
    assert invoke("education", "--html", str(page)).exit_code == 2
    assert invoke("education", "riches").exit_code == 2
    assert "liability" in invoke("education").stdout


def test_checking_before_a_release(tmp_path: Path) -> None:
    assert invoke("check").exit_code == 0
    found = document("check")
    assert found["lacking"] == []
    assert len(found["unreviewed"]) == found["notices"]
    assert invoke("check", "--release").exit_code == 3
    rulebook = json.loads(default_text())
    rulebook["codes"].append({**rulebook["codes"][0], "code": "brand-new"})
    file = tmp_path / "rulebook.json"
    file.write_text(json.dumps(rulebook, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
    checked = invoke("check", "--rulebook", str(file))
    assert checked.exit_code == 3
    assert "reason-brand-new: missing" in checked.stdout
