"""Conditions of the detector's rules: what they mean, what is refused and why, and that text stays text."""

import math
import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from signalexchange.detector.conditions import FIELDS, FUNCTIONS, KINDS, MAX_DEPTH, MAX_TOKENS
from signalexchange.detector.rules import RuleFileError, Rules
from signalexchange.flows import Kind

from tests.support.detector_rules import (
    FEATURES,
    HEAD,
    HOUR,
    NOON,
    PIECES,
    Bought,
    applies,
    parse,
    refusal,
    rule,
)


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


# Whatever text there is, it stays text


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
