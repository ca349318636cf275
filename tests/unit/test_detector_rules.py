"""The detector's rule files: what they say, and that a wrong one is refused with line and reason."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalexchange.detector.rules import MAX_CHARACTERS, MAX_RULES, RuleFileError, Rules
from signalexchange.errors import ConfigError

from tests.support.detector_rules import FEATURES, HEAD, PIECES, Bought, parse, refusal, rule, vector


def test_hits_come_in_the_files_order_with_what_the_rule_says() -> None:
    text = "version = 7\n" + rule(name="second", when="amount > 4000", score=0, action="proceed")
    text += rule(name="not-this", when="credit") + rule(name="first", when="amount > 3000", reason="大额")
    rules = Rules.parse(text, FEATURES)
    hits = rules.judge(vector(), Bought())
    assert [(hit.name, hit.score, hit.action, hit.reason) for hit in hits] == [
        ("second", 0, "proceed", "because"),
        ("first", 500, "review", "大额"),
    ]
    assert rules.version == 7
    assert [each.name for each in rules.rules] == ["second", "not-this", "first"]


def test_a_rule_file_names_the_features_it_reads() -> None:
    rules = parse("customer.count.1h > 3 and (device.new == 1 or amount > 3)")
    assert rules.features == {"customer.count.1h", "device.new"}


WRONG_FILES = {
    "empty": ("", 1, "version: Field required"),
    "not TOML": ("version = 1\nrule = = 3\n", 2, "not a TOML file"),
    "not TOML at its end": ("version = 1\n\nname", 3, "not a TOML file"),
    "an unclosed string": (HEAD + '[[rule]]\nname = "a\n', 4, "not a TOML file"),
    "a key twice": (HEAD + '[[rule]]\nname = "a"\nname = "b"\n', 5, "not a TOML file"),
    "a number too long": (f"version = {'9' * 5000}\n", 1, "not a TOML file"),
    "nested deeply": ("version = " + "[" * 50_000, 1, "nested too deeply"),
    "too long": ("#" * (MAX_CHARACTERS + 1), 1, "characters"),
    "no version": (rule(), 1, "version: Field required"),
    "version 0": ("version = 0\n" + rule(), 1, "version: Input should be greater than or equal to 1"),
    "version as text": ('# mine\n\nversion = "1"\n' + rule(), 3, "version: Input should be a valid integer"),
    "no rules": ("version = 1\n", 1, "rule: Field required"),
    "an empty list of rules": ("version = 1\nrule = []\n", 2, "rule: List should have at least 1 item"),
    "rules in line": ("version = 1\nrule = [{ name = 'a' }]\n", 2, "a table headed [[rule]]"),
    "one table": (HEAD + "[rule]\nname = 'a'\n", 3, "rule: Input should be a valid list"),
    "too many": (HEAD + rule() * (MAX_RULES + 1), 3, f"rule: List should have at most {MAX_RULES}"),
    "an unknown key of the file": ("version = 1\nextra = 2\n" + rule(), 2, "extra: Extra inputs"),
    "an unknown key": (HEAD + rule() + rule(name="rule-b", severity=3), 15, "rule 2: severity: Extra inputs"),
    "an unknown table": (HEAD + rule() + "[rule.more]\na = 1\n", 9, "rule 1: more: Extra inputs"),
    "no name": (HEAD + rule(name=None), 3, "rule 1: name: Field required"),
    "no condition": (HEAD + rule(when=None), 3, "rule 1: when: Field required"),
    "no score": (HEAD + rule() + rule(score=None), 9, "rule 2: score: Field required"),
    "no action": (HEAD + rule(action=None), 3, "rule 1: action: Field required"),
    "no reason": (HEAD + rule(reason=None), 3, "rule 1: reason: Field required"),
    "a bad name": (HEAD + rule(name="A rule"), 4, "rule 1: name: String should match"),
    "name as number": (HEAD + rule(name=3), 4, "rule 1: name: Input should be a valid string"),
    "condition as truth": (HEAD + rule(when="true")[:-1].replace('"true"', "true"), 5, "rule 1: when: Input"),
    "condition too long": (HEAD + rule(when="amount > 1" + " " * 4000), 5, "rule 1: when: String should"),
    "score too high": (HEAD + rule(score=1001), 6, "rule 1: score: Input should be less than"),
    "score negative": (HEAD + rule(score=-1), 6, "rule 1: score: Input should be greater"),
    "score as text": (HEAD + rule(score="5"), 6, "rule 1: score: Input should be a valid integer"),
    "score as fraction": (HEAD + rule(score=0.5), 6, "rule 1: score: Input should be a valid integer"),
    "score as truth": (HEAD + rule(score="x").replace('"x"', "true"), 6, "rule 1: score: Input"),
    "an unknown action": (HEAD + rule(action="freeze"), 7, "rule 1: action: Input should be 'proceed'"),
    "an empty reason": (HEAD + rule(reason=""), 8, "rule 1: reason: String should have at least 1"),
    "a name twice": (HEAD + rule() + rule(name="rule-b") + rule(), 16, "name stands in line 4 too"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "reason"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_refused_with_line_and_reason(text: str, line: int, reason: str) -> None:
    error = refusal(text)
    assert error.line == line
    assert reason in error.reason
    assert isinstance(error, ConfigError)


def test_lines_are_those_of_the_file_whatever_strings_and_comments_hold() -> None:
    text = '''# [[rule]]
version = 1   # [[rule]] "
[[ rule ]]
name = "rule-a"
reason = """
[[rule]]
when = "no \\"""
score = 3"""
when = \'\'\'
amount >
1 \'\'\'
score = 5
action = "hold"
[[rule]] # "
  name = 'rule"b'
when   = "amount > 1"
score = 1
action = "hold"
reason = "r"
'''
    assert refusal(text).line == 15
    assert refusal(text.replace("\n", "\r\n")).line == 15
    fixed = text.replace('rule"b', "rule-b")
    assert refusal(fixed.replace('> 1"', '> x"')).line == 16
    assert refusal(fixed.replace("1 '''", "x '''")).line == 9
    assert len(Rules.parse(fixed, FEATURES).rules) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    with pytest.raises(ConfigError, match=r"own\.toml: can't read the rules: No such file"):
        Rules.read(file, FEATURES)
    file.write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(RuleFileError, match=r"own\.toml: line 2: not UTF-8"):
        Rules.read(file, FEATURES)
    file.write_text("version = 1\n" + rule(when="x > 1"), "utf-8")
    with pytest.raises(RuleFileError, match=r"own\.toml: line 4: rule a-rule: when: unknown name"):
        Rules.read(file, FEATURES)
    file.write_text("version = 1\n" + rule(), "utf-8")
    assert Rules.read(file, FEATURES).judge(vector(), Bought())


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from([*PIECES, "[[rule]]", "version = 1\n", rule()])).map("".join)
    )
)
def test_any_file_is_rules_or_refused(text: str) -> None:
    with suppress(RuleFileError):
        Rules.parse(text, FEATURES)
        return
    assert 1 <= refusal(text).line <= text.count("\n") + 1
