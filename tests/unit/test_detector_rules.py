"""The detector's rules: what a file may say, what is refused and where, what rules find, and that text stays
text."""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from signalexchange.detector.conditions import FIELDS, FUNCTIONS, KINDS, MAX_DEPTH, MAX_TOKENS
from signalexchange.detector.rules import MAX_CHARACTERS, MAX_RULES, RuleFileError, Rules, default_text
from signalexchange.errors import ConfigError
from signalexchange.flows import Kind

PAGE = Path(__file__).parents[2] / "docs" / "detector-rules.md"
MINUTE, HOUR, DAY = 60, 3600, 86400
NOON = 1_750_000_000 // DAY * DAY + 4 * HOUR
"""Noon in China."""
FEATURES = (
    *(f"customer.count.{window}" for window in ("1m", "10m", "1h", "1d", "7d", "30d")),
    *(f"customer.sum.{window}" for window in ("1m", "10m", "1h", "1d", "7d", "30d")),
    "transaction.large", "customer.credit_large.count.10m", "customer.credit_large.count.1h",
    "customer.credit_large.count.1d",
    "customer.amount_ratio.30d", "customer.payees.1d", "customer.payees.30d", "customer.hour",
    "customer.new_merchant", "customer.refund_ratio.7d", "customer.pass_ratio.3d", "customer.utilisation",
    "customer.frauds.28d", "device.new", "device.customers.1d", "pair.count.30d", "merchant.frauds.28d",
    "merchant.risk.28d",
)  # fmt: skip


@dataclass(frozen=True)
class Bought:
    """What rules read of a transaction."""

    time: int = NOON
    amount: int = 500_000
    limit: int = 0
    kind: Kind = Kind.PURCHASE
    credit: bool = False


def quoted(text: str) -> str:
    """A TOML string."""
    return (
        '"'
        + "".join(f"\\U{ord(each):08x}" if each in '"\\' or not each.isprintable() else each for each in text)
        + '"'
    )


def rule(**changes: object) -> str:
    """A [[rule]]; a value of None leaves its key out."""
    keys: dict[str, object] = {
        "name": "a-rule", "when": "amount > 1", "score": 500, "action": "review", "reason": "because",
    }  # fmt: skip
    keys |= changes
    lines = (
        f"{key} = {quoted(value) if isinstance(value, str) else value}"
        for key, value in keys.items()
        if value is not None
    )
    return "\n".join(["[[rule]]", *lines, ""])


def parse(when: str) -> Rules:
    return Rules.parse("version = 1\n" + rule(when=when), FEATURES)


def refusal(text: str) -> RuleFileError:
    with pytest.raises(RuleFileError) as caught:
        Rules.parse(text, FEATURES, "own.toml")
    assert str(caught.value) == f"own.toml: line {caught.value.line}: {caught.value.reason}"
    return caught.value


def vector(**values: float) -> list[float]:
    """A feature vector; dots of names are written __."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    assert given.keys() <= set(FEATURES)
    return [given.get(name, 0.0) for name in FEATURES]


def applies(when: str, bought: Bought | None = None, **values: float) -> bool:
    return bool(parse(when).judge(vector(**values), bought or Bought()))


# What a file may say


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


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("amount == 5_000.00", True),
        ("limit == 123.45", True),
        ("hour == 12", True),
        ('kind == "refund"', True),
        ('kind != "refund"', False),
        ('kind == "purchase" or credit', True),
        ("not credit", False),
        ("1 < 2 < amount", True),
        ("amount > 1 > 2", False),
        ("1 < amount != 5000", False),
        ("customer.count.1h - 1 - 1 == 2", True),
        ("customer.count.1h / 2 / 2 == 1", True),
        ("-customer.count.1h * 2 + 9 == 1", True),
        ("customer.count.1h == 4 or credit and amount < 0", True),
        ("not customer.count.1h == 4 and credit", False),
        ("customer.count.1h\n>=\r\n\t4", True),
        ("((customer.count.1h))>=4", True),
    ],
)
def test_conditions_mean_what_they_say(when: str, expected: bool) -> None:
    bought = Bought(limit=12_345, kind=Kind.REFUND, credit=True)
    assert applies(when, bought, customer__count__1h=4) is expected


@pytest.mark.parametrize(("time", "hour"), [(0, 8), (16 * HOUR - 1, 23), (16 * HOUR, 0), (NOON + 59, 12)])
def test_the_hour_is_chinas(time: int, hour: int) -> None:
    assert applies(f"hour == {hour}", Bought(time=time))


def test_division_by_zero_is_unknown_and_a_comparison_with_the_unknown_is_false() -> None:
    for sign in ("<", "<=", ">", ">=", "==", "!="):
        assert not applies(f"amount / customer.sum.1h {sign} 3")
        assert not applies(f"3 {sign} customer.sum.1h / customer.sum.1h + 1")
        assert not applies(f"0 < amount {sign} amount / customer.sum.1h")
        assert applies(f"amount / customer.sum.1h {sign} 3 or amount > 3")
        assert applies(f"not amount / customer.sum.1h {sign} 3")
    assert applies("amount / customer.sum.1h > 3", customer__sum__1h=1000)


def test_numbers_of_any_size_are_judged() -> None:
    product = " * ".join(["customer.sum.1d"] * 25)
    whole: list[float] = [10**16 if name == "customer.sum.1d" else 1 for name in FEATURES]
    for when in (
        f"{product} / amount > 1",
        f"amount / ({product}) < 1",
        f"{product} - {product} != 0 or credit",
    ):
        parse(when).judge(whole, Bought())
    assert parse(f"{product} > amount").judge(whole, Bought())


# What is refused, and where

HEAD = "version = 1\n\n"
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


WRONG_CONDITIONS = {
    "": "at least 1 character",
    " \n ": "is empty",
    "customer.cuont.1h > 3": "unknown name (near: customer.count.1h",
    "Amount > 3": "unknown name (near: amount) at 'Amount' (word 1)",
    "zzz > 3": "unknown name at 'zzz' (word 1)",
    "vector > 3": "unknown name",
    "amount > 10m": "not a plain number (seconds, CNY or a count, without a unit), at '10m' (word 3)",
    "amount > 0x10": "not a plain number",
    "amount > 1e5": "not a plain number",
    "amount > 1.": "not a plain number",
    "amount > 1__0": "not a plain number",
    f"amount > {'9' * 400}": "number too large",
    f"amount > {'9' * 300} * {'9' * 300}": "number too large",
    "amount": "a number where a condition is needed: compare it with something, at 'amount' (word 1)",
    "not amount": "a number where a condition is needed",
    "credit and device.new": "compare it with something, at 'device.new' (word 3)",
    "credit + 1 > 2": "a condition where a number is needed: it is true or false by itself, at 'credit'",
    "-credit > 2": "a condition where a number is needed",
    "kind": 'a kind where a condition is needed: write kind == "purchase"',
    "kind + 1 > 2": "a kind where a number is needed",
    'kind == "gift"': "unknown kind (known: purchase, transfer, refund, repayment) at '\"gift\"' (word 3)",
    "kind == 3": "a kind can't be compared with a number",
    'kind > "refund"': "kinds are compared with == and != alone",
    "credit == 1": "a condition can't be compared with a number",
    "credit == credit": "conditions aren't compared: use and, or, not",
    "(amount > 3) == (amount > 4)": "conditions aren't compared",
    "amount / 0 > 3": "division by zero at '0' (word 3)",
    "amount / (2 - 1 * 2) > 3": "division by zero",
    "1 / 0 > amount": "division by zero",
    "1 < 2": "reads nothing of the transaction",
    '"refund" == "refund"': "reads nothing of the transaction",
    "amount >": "can't be read",
    "(amount > 3": "can't be read",
    "amount > 3)": "can't be read at ')' (word 4)",
    "amount > 3 credit": "can't be read at 'credit' (word 4)",
    "amount ** 2 > 3": "can't be read at '*' (word 3)",
    "amount // 2 > 3": "can't be read",
    "amount % 2 > 3": "what starts with '% 2 > 3' isn't part of the language",
    "amount > 3 & credit": "isn't part of the language",
    "+amount > 3": "not part of the language, at '+' (word 1)",
    "()": "not part of the language",
    "amount(3) > 3": "not part of the language, at 'amount'",
    "amount > 3 if credit else credit": "can't be read at 'if'",
    "kind in credit": "can't be read at 'in'",
    "amount is 3": "can't be read",
    "lambda: credit": "isn't part of the language",
    "credit; credit": "isn't part of the language",
    "[credit for credit in kind]": "isn't part of the language",
    "(x := credit)": "isn't part of the language",
    "credit # yes": "isn't part of the language",
    "credit \x00": "isn't part of the language",
    "ａｍｏｕｎｔ > 3": "isn't part of the language",
    "kind == 'refund'": "isn't part of the language",
    "'' or credit": "isn't part of the language",
    "True": "unknown name",
    "__import__": "unknown name",
    '__import__("os")': "not part of the language",
    "credit.__class__ > 3": "unknown name",
    "customer.count.1h.real > 3": "unknown name",
    "not " * MAX_DEPTH + "credit": f"too deep: at most {MAX_DEPTH} levels",
    "(" * 90 + "credit" + ")" * 90 + " and " + "not " * 40 + "credit": "too deep",
    "(" * 140 + "credit" + ")" * 140: None,
    "-" * (MAX_TOKENS - 3) + "amount > 1": "too deep",
    " + ".join(["amount"] * 40) + " > 1": "too deep",
    "-" * MAX_TOKENS + "amount > 1": f"too long: at most {MAX_TOKENS} names, numbers and signs",
    " and ".join(["credit"] * (MAX_TOKENS // 2 + 1)): "too long",
}  # fmt: skip


@pytest.mark.parametrize(("when", "reason"), WRONG_CONDITIONS.items())
def test_a_wrong_condition_is_refused_with_its_rule_line_and_reason(when: str, reason: str | None) -> None:
    text = HEAD + rule(name="fine") + "# and mine:\n" + rule(name="mine", when=when)
    if reason is None:
        Rules.parse(text, FEATURES)
        return
    error = refusal(text)
    assert error.line == 12
    assert reason in error.reason
    assert "mine" in error.reason or when == ""


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


# Whatever text there is, it stays text

PIECES = [
    *FIELDS, *FEATURES[:4], "and", "or", "not", "in", "is", "if", "else", "lambda", "True", "None", "yield",
    "__import__", "hits", "divide", "(", ")", "[", "]", "{", "}", "*", "+", "-", "/", "%", "@", "~", "<",
    "<=", "==", "!=", ">", "=",
    ":=", ":", ",", ".", ";", "'", '"', '"refund"', "\\", "#", "\n", "0", "1", "3.5",
    "1_000", "10m", "9" * 200, "0x1f", "1e9", "1j",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.builds(lambda piece, times: piece * times + "credit", st.sampled_from(PIECES), st.integers(0, 320)),
)
NUMBERS = st.one_of(st.integers(-3, 3), st.integers(0, 10**16), st.floats())


def vectors(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    """Feature vectors of a few different numbers."""
    return st.lists(numbers, min_size=1, max_size=7).map(lambda few: (few * len(FEATURES))[: len(FEATURES)])


@given(when=TEXTS, numbers=vectors(NUMBERS))
@settings(max_examples=200)
def test_any_text_is_a_condition_or_refused_and_runs_nothing(when: str, numbers: list[float]) -> None:
    try:
        rules = parse(when)
    except RuleFileError:
        return
    assert isinstance(rules.judge, FunctionType)
    code = rules.judge.__code__
    assert set(code.co_names) <= {*FIELDS, *FUNCTIONS, "time", "hit0", "append"}
    assert all(each is None or isinstance(each, int | float) for each in code.co_consts)
    assert rules.judge.__globals__["__builtins__"] == {}
    rules.judge(numbers, Bought())


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


# Conditions equal a slow interpreter of their tree

Tree = tuple[Any, ...]
LEVELS = {"or": 1, "and": 2, "not": 3, "compare": 4, "+": 5, "-": 5, "*": 6, "/": 6, "negative": 7}
"""How strongly each kind of tree binds; what isn't listed needs no parentheses."""


def constant(tree: Tree) -> bool:
    return tree[0] == "number" or (
        tree[0] in {"+", "-", "*", "/", "negative"} and all(map(constant, tree[1:]))
    )


def divided(left: Tree, right: Tree) -> Tree:
    return ("/", left, ("name", "customer.sum.1h") if constant(right) else right)


NAMES = st.sampled_from(["amount", "limit", "hour", *FEATURES[:8]])
AMOUNTS = st.recursive(
    st.one_of(
        NAMES.map(lambda name: ("name", name)),
        st.one_of(st.integers(0, 5000), st.decimals(0, 99, places=2)).map(
            lambda value: ("number", str(value))
        ),
    ),
    lambda trees: st.one_of(
        st.tuples(st.sampled_from("+-*"), trees, trees),
        st.builds(divided, trees, trees),
        st.tuples(st.just("negative"), trees),
    ),
    max_leaves=6,
)
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
TRUTHS = st.recursive(
    st.one_of(
        st.tuples(st.just("compare"), AMOUNTS, st.lists(st.tuples(SIGNS, AMOUNTS), min_size=1, max_size=3)),
        st.just(("credit",)),
        st.tuples(st.just("kind"), st.sampled_from(["==", "!="]), st.sampled_from([*KINDS])),
    ),
    lambda trees: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), trees, trees), st.tuples(st.just("not"), trees)
    ),
    max_leaves=6,
)


def written(tree: Tree, least: int = 0) -> str:
    """The tree as text, with parentheses only where what is around binds more strongly than `least`."""
    kind, level = tree[0], LEVELS.get(tree[0], 8)
    if kind in {"name", "number"}:
        return str(tree[1])
    if kind == "credit":
        return "credit"
    if kind == "kind":
        text, level = f'kind {tree[1]} "{tree[2]}"', 4
    elif kind == "compare":
        text = written(tree[1], 5) + "".join(f" {sign} {written(each, 5)}" for sign, each in tree[2])
    elif kind in {"not", "negative"}:
        text = ("not " if kind == "not" else "-") + written(tree[1], level)
    else:
        text = f"{written(tree[1], level)} {kind} {written(tree[2], level + 1)}"
    return f"({text})" if level < least else text


def known(left: float, sign: str, right: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return False
    return {
        "<": left < right, "<=": left <= right, ">": left > right,
        ">=": left >= right, "==": left == right, "!=": left != right,
    }[sign]  # fmt: skip


def number(tree: Tree, names: Mapping[str, float]) -> float:
    kind = tree[0]
    if kind == "name":
        return float(names[tree[1]])
    if kind == "number":
        return float(tree[1])
    if kind == "negative":
        return -number(tree[1], names)
    left, right = number(tree[1], names), number(tree[2], names)
    if kind == "/":
        return left / right if right != 0 else math.nan
    return {"+": left + right, "-": left - right, "*": left * right}[kind]


def truth(tree: Tree, names: Mapping[str, float], bought: Bought) -> bool:
    match tree:
        case ("credit",):
            return bought.credit
        case ("kind", sign, name):
            return (bought.kind.name.lower() == name) is (sign == "==")
        case ("not", inner):
            return not truth(inner, names, bought)
        case ("and", left, right):
            return truth(left, names, bought) and truth(right, names, bought)
        case ("or", left, right):
            return truth(left, names, bought) or truth(right, names, bought)
    left = number(tree[1], names)
    for sign, each in tree[2]:
        right = number(each, names)
        if not known(left, sign, right):
            return False
        left = right
    return True


@given(
    tree=TRUTHS,
    numbers=st.lists(
        st.one_of(st.integers(0, 6), st.floats()), min_size=len(FEATURES), max_size=len(FEATURES)
    ),
    bought=st.builds(
        Bought,
        time=st.integers(0, 2**33),
        amount=st.integers(1, 10**14),
        limit=st.integers(0, 10**14),
        kind=st.sampled_from(Kind),
        credit=st.booleans(),
    ),
)
@settings(max_examples=150)
def test_judging_equals_a_slow_interpreter(tree: Tree, numbers: list[float], bought: Bought) -> None:
    when = written(tree)
    assume(re.search("[a-z]", re.sub(r"\b(and|or|not)\b", "", when)))
    names = dict(zip(FEATURES, numbers, strict=True))
    names |= {"amount": bought.amount / 100, "limit": bought.limit / 100}
    names["hour"] = (bought.time // HOUR + 8) % 24
    assert bool(parse(when).judge(numbers, bought)) is truth(tree, names, bought)


# The packaged rules


def judged(history: Sequence[Bought], bought: Bought, **others: float) -> set[str]:
    """Packaged rules that apply to a customer's purchase after its history, recounted naively."""

    def within(seconds: int, upto: int = len(history)) -> list[Bought]:
        return [each for each in history[:upto] if bought.time - seconds < each.time]

    def mean(purchases: Sequence[Bought]) -> float:
        return sum(each.amount for each in purchases) / len(purchases) if purchases else 0.0

    def is_large(each: Bought, before: int) -> bool:
        return each.amount >= max(100_000, 3 * mean(within(30 * DAY, before)))

    large = [each for index, each in enumerate(history) if each.credit and is_large(each, index)]
    windows = {"1m": MINUTE, "10m": 10 * MINUTE, "1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
    values: dict[str, float] = {}
    for name, seconds in windows.items():
        values[f"customer__count__{name}"] = len(within(seconds))
        values[f"customer__sum__{name}"] = sum(each.amount for each in within(seconds)) / 100
        if name in {"10m", "1h", "1d"}:
            values[f"customer__credit_large__count__{name}"] = sum(each in large for each in within(seconds))
    usual = mean(within(30 * DAY))
    values["transaction__large"] = is_large(bought, len(history))
    values["customer__amount_ratio__30d"] = bought.amount / usual if usual else 0.0
    values |= {"customer__hour": 0.5, "customer__utilisation": 0.5, "pair__count__30d": 3} | others
    return {hit.name for hit in Rules.default(FEATURES).judge(vector(**values), bought)}


EVERYDAY = [Bought(NOON - day * DAY, 8_000) for day in range(29, 0, -1)]


def large(*minutes: int, amount: int = 450_000, credit: bool = True) -> list[Bought]:
    return [
        Bought(NOON + minute * MINUTE, amount + minute * 100, 2_000_000, credit=credit) for minute in minutes
    ]


@pytest.mark.parametrize("history", [EVERYDAY, []], ids=["a known customer", "a new customer"])
def test_a_burst_of_large_purchases_on_credit_is_caught_at_the_third(history: list[Bought]) -> None:
    burst = large(0, 4, 8)
    for index in range(2):
        assert not judged(history + burst[:index], burst[index])
    assert "credit-burst" in judged(history + burst[:2], burst[2])
    assert "credit-burst" in judged(history + burst, large(9)[0])
    assert "credit-burst" in judged(history + burst, large(12)[0])


def test_a_burst_spread_over_an_hour_is_caught_at_the_fourth() -> None:
    burst = large(0, 18, 36, 54)
    assert "credit-burst-slow" not in judged(EVERYDAY + burst[:2], burst[2])
    assert "credit-burst-slow" in judged(EVERYDAY + burst[:3], burst[3])


RICH = [replace(each, amount=500_000, credit=True) for each in EVERYDAY]
LOOK_ALIKES: dict[str, list[Bought]] = {
    "paid with own money": EVERYDAY + large(0, 4, 8, 12, credit=False),
    "small things on credit": EVERYDAY + large(0, 4, 8, 12, amount=20_000),
    "two large things": EVERYDAY + large(0, 4),
    "large things on different days": EVERYDAY + large(-3 * 1440, -1440, 0),
    "large for others, usual for this customer": RICH + large(0, 4, 8, 12),
    "small after large": EVERYDAY + large(0, 4) + large(8, amount=3_000),
    "a refund on the line": EVERYDAY + large(0, 4) + [replace(large(8)[0], kind=Kind.REFUND)],
    "a repayment of the line": EVERYDAY + large(0, 4) + [replace(large(8)[0], kind=Kind.REPAYMENT)],
}  # fmt: skip


@pytest.mark.parametrize("purchases", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_what_looks_like_a_burst_is_not_caught_as_one(purchases: list[Bought]) -> None:
    for index, bought in enumerate(purchases):
        assert not judged(purchases[:index], bought) & {"credit-burst", "credit-burst-slow"}


def test_everyday_life_hits_nothing() -> None:
    for index, bought in enumerate(EVERYDAY):
        assert judged(EVERYDAY[:index], bought) == set()


ON_CREDIT = Bought(limit=1_000_000, credit=True)
SENT = Bought(kind=Kind.TRANSFER)
BACK = Bought(kind=Kind.REFUND)
CAUGHT: dict[str, tuple[Bought, dict[str, float], list[tuple[Bought, dict[str, float]]]]] = {
    "line-at-once": (
        replace(ON_CREDIT, amount=600_000),
        {"customer__new_merchant": 1},
        [
            (replace(ON_CREDIT, amount=590_000), {}),
            (replace(ON_CREDIT, limit=0), {}),
            (ON_CREDIT, {"customer__new_merchant": 0}),
        ],
    ),
    "line-exhausted": (
        ON_CREDIT,
        {"customer__utilisation": 0.4, "customer__count__1d": 2, "customer__sum__1d": 4_000,
         "customer__sum__30d": 5_000},
        [
            (ON_CREDIT, {"customer__utilisation": 0.95}),
            (ON_CREDIT, {"customer__utilisation": 0.3}),
            (ON_CREDIT, {"customer__sum__30d": 8_001}),
            (replace(ON_CREDIT, limit=0), {}),
        ],
    ),
    "fan-out": (
        SENT,
        {"customer__payees__1d": 9, "customer__payees__30d": 12, "customer__pass_ratio__3d": 0.5},
        [
            (SENT, {"pair__count__30d": 1}),
            (SENT, {"customer__payees__1d": 8}),
            (SENT, {"customer__payees__30d": 19}),
            (SENT, {"customer__pass_ratio__3d": 0}),
            (SENT, {"customer__pass_ratio__3d": 2}),
            (replace(SENT, amount=50_000), {}),
        ],
    ),
    "pass-through": (
        SENT,
        {"customer__pass_ratio__3d": 0.9},
        [(SENT, {"customer__pass_ratio__3d": 0.6}), (SENT, {"customer__pass_ratio__3d": 1.2}), (BACK, {})],
    ),
    "refund-abuse": (
        BACK,
        {"customer__count__7d": 6, "customer__refund_ratio__7d": 0.6},
        [(BACK, {"customer__count__7d": 2}), (BACK, {"customer__refund_ratio__7d": 0.2}), (ON_CREDIT, {})],
    ),
    "new-device-large": (
        Bought(),
        {"device__new": 1, "customer__amount_ratio__30d": 8, "customer__count__30d": 12},
        [
            (Bought(), {"device__new": 0}),
            (Bought(), {"customer__amount_ratio__30d": 2}),
            (Bought(), {"customer__count__30d": 1}),
            (Bought(amount=90_000), {}),
        ],
    ),
    "shared-device": (
        ON_CREDIT,
        {"device__customers__1d": 5},
        [(ON_CREDIT, {"device__customers__1d": 4}), (Bought(), {}), (replace(ON_CREDIT, amount=50_000), {})],
    ),
    "quiet-then-burst": (
        Bought(),
        {
            "customer__count__30d": 6, "customer__count__7d": 2, "customer__count__1d": 2,
            "customer__sum__1d": 9_000, "customer__sum__30d": 9_400,
        },
        [
            (Bought(), {"customer__count__7d": 3}),
            (Bought(), {"customer__count__30d": 2}),
            (Bought(), {"customer__sum__30d": 30_000}),
        ],
    ),
    "rapid-fire": (
        Bought(),
        {"customer__count__1m": 4},
        [(Bought(), {"customer__count__1m": 3}), (SENT, {})],
    ),
    "odd-hour-large": (
        Bought(),
        {"customer__count__30d": 40, "customer__hour": 0.01, "customer__amount_ratio__30d": 6},
        [(Bought(), {"customer__hour": 0.1}), (Bought(), {"customer__count__30d": 5})],
    ),
    "merchant-with-frauds": (
        Bought(amount=2_000),
        {"merchant__frauds__28d": 3, "merchant__risk__28d": 0.25},
        [(Bought(), {"merchant__frauds__28d": 2}), (Bought(), {"merchant__risk__28d": 0.05})],
    ),
    "customer-with-fraud": (
        Bought(amount=30_000),
        {"customer__frauds__28d": 1, "customer__amount_ratio__30d": 5},
        [(Bought(), {"customer__frauds__28d": 0}), (Bought(), {"customer__amount_ratio__30d": 1})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUGHT)
def test_each_packaged_rule_catches_its_case_and_not_the_look_alikes(name: str) -> None:
    rules = Rules.default(FEATURES)
    bought, values, look_alikes = CAUGHT[name]
    assert name in {hit.name for hit in rules.judge(vector(**values), bought)}
    for other, changes in look_alikes:
        assert name not in {hit.name for hit in rules.judge(vector(**values | changes), other)}


def test_every_packaged_rule_is_tested() -> None:
    names = {each.name for each in Rules.default(FEATURES).rules}
    assert names == {*CAUGHT, "credit-burst", "credit-burst-slow"}


def test_the_page_lists_the_packaged_rules_as_they_are() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\w+) \|", PAGE.read_text("utf-8"), flags=re.M)
    assert rows == [(each.name, str(each.score), each.action) for each in Rules.default(FEATURES).rules]


def test_the_page_explains_every_field_and_feature_the_packaged_rules_read() -> None:
    page = PAGE.read_text("utf-8")
    for name in [*FIELDS, *KINDS]:
        assert f"`{name}`" in page
    for name in Rules.default(FEATURES).features:
        assert re.sub(r"\.\d+[mhd]$", "", name) in page


def test_the_packaged_rules_read_features_that_windows_have() -> None:
    windows = pytest.importorskip("signalexchange.detector.features")
    assert Rules.default(windows.FEATURES).features <= set(windows.FEATURES)


def test_a_packaged_rule_that_reads_what_is_not_there_is_refused_by_line() -> None:
    with pytest.raises(RuleFileError, match=r"rules\.toml: line \d+: rule credit-burst: when: unknown name"):
        Rules.parse(default_text(), FEATURES[:12], "rules.toml")
