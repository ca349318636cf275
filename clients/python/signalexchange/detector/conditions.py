"""The language of rules' conditions: what `when` may say, checked and translated to Python source.

Invariants: only what is listed here is understood: names of features and fields, numbers, "kinds",
comparisons (chained too), and, or, not, + - * / and parentheses. Nothing of the text reaches the translation
but numbers, through float, and which names were meant: operands are handed to Python's parser as
placeholders, and of its tree only listed nodes are taken. A condition reads something of the transaction. Its
cost is bounded: at most MAX_TOKENS tokens and MAX_DEPTH levels.

Whatever it reads, evaluating raises nothing: x / 0 is unknown (NaN), arithmetic with the unknown is unknown,
a comparison with it is false, != included. All arithmetic is IEEE 754 double precision.
"""

import ast
import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, Never

from signalexchange.errors import MalformedError
from signalexchange.flows import Kind

MAX_TOKENS = 300
MAX_DEPTH = 32

CHINA_STANDARD_TIME = 8 * 3600
"""Seconds ahead of UTC, all year."""
CENTS = 100

Type = Literal["number", "truth", "kind"]

FIELDS: dict[str, tuple[Type, str]] = {
    "amount": ("number", f"t.amount / {CENTS}"),
    "hour": ("number", f"(t.time + {CHINA_STANDARD_TIME}) % 86400 // 3600"),
    "limit": ("number", f"t.limit / {CENTS}"),
    "credit": ("truth", "t.credit"),
    "kind": ("kind", "t.kind"),
}
"""The transaction's own fields → type, and source over a transaction `t`: amount and limit in CNY, hour 0 to
23 of China Standard Time."""
KINDS = {kind.name.lower(): int(kind) for kind in Kind}

_TOKEN = re.compile(
    r'(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)|(?P<number>[0-9][A-Za-z0-9_.]*)|"(?P<kind>[^"]*)"'
    r"|(?P<sign><=|>=|==|!=|[-+*/<>()])|(?P<space>[ \t\r\n]+)"
)
_NUMBER = re.compile(r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?")
_WORDS = ("and", "or", "not")
_SIGNS: dict[type[ast.operator] | type[ast.cmpop], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_WHAT: dict[Type, str] = {"number": "a number", "truth": "a condition", "kind": "a kind"}


class ConditionError(MalformedError):
    """A condition that can't be used; the message says why and where in it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A translated condition: an expression over `vector`, a local for each of `fields`, and FUNCTIONS."""

    source: str
    features: frozenset[str]
    fields: frozenset[str]


def divide(dividend: float, divisor: float) -> float:
    """The quotient, or NaN, the unknown, where the divisor is 0."""
    return dividend / divisor if divisor else math.nan


def differ(left: float, right: float) -> bool:
    """Whether two known numbers are different."""
    return left < right or left > right


FUNCTIONS = {"divide": divide, "differ": differ}
"""What a condition's source calls."""


def translate(text: str, features: Mapping[str, int]) -> Condition:
    """Check a condition over features (name → index in the vector) and translate it.

    Raises ConditionError, and nothing else, for text that isn't a condition.
    """
    return _Translation(text, features).run()


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    is_number: bool = False
    is_kind: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """A translated operand; `value` where it is the same for every transaction."""

    type: Type
    source: str
    value: float | None = None


class _Translation:
    def __init__(self, text: str, features: Mapping[str, int]) -> None:
        self._features = features
        self._tokens: list[_Token] = []
        self._starts: list[int] = []
        self._read_features: set[str] = set()
        self._read_fields: set[str] = set()
        self._placeholders = self._read_tokens(text)

    def run(self) -> Condition:
        try:
            tree = ast.parse(self._placeholders, mode="eval").body
        except SyntaxError as error:
            self._refuse("can't be read", (error.offset or len(self._placeholders)) - 1)
        except (RecursionError, MemoryError):
            raise ConditionError(f"too deep: at most {MAX_DEPTH} levels") from None
        part = self._want(tree, "truth", 1)
        if not (self._read_features or self._read_fields):
            raise ConditionError("reads nothing of the transaction: it would always be the same")
        return Condition(part.source, frozenset(self._read_features), frozenset(self._read_fields))

    def _read_tokens(self, text: str) -> str:
        """The text with every operand replaced by x and the number of its token."""
        words: list[str] = []
        at = length = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ConditionError(f"what starts with {text[at : at + 10]!r} isn't part of the language")
            at = match.end()
            if match["space"]:
                continue
            if len(self._tokens) == MAX_TOKENS:
                raise ConditionError(f"too long: at most {MAX_TOKENS} names, numbers and signs")
            word = match[0] if match["sign"] or match["name"] in _WORDS else f"x{len(self._tokens)}"
            self._tokens.append(_Token(match[0], bool(match["number"]), match["kind"] is not None))
            self._starts.append(length)
            words.append(word)
            length += len(word) + 1
        if not words:
            raise ConditionError("is empty")
        return " ".join(words)

    def _refuse(self, why: str, offset: int) -> Never:
        index = bisect_right(self._starts, max(offset, 0)) - 1
        raise ConditionError(f"{why} at {_short(self._tokens[index].text)} (word {index + 1})")

    def _want(self, node: ast.expr, wanted: Type, depth: int) -> _Part:
        part = self._part(node, depth)
        if part.type != wanted:
            hint = {
                ("number", "truth"): ": compare it with something",
                ("truth", "number"): ": it is true or false by itself",
                ("kind", "truth"): ': write kind == "purchase"',
            }.get((part.type, wanted), "")
            self._refuse(f"{_WHAT[part.type]} where {_WHAT[wanted]} is needed{hint},", node.col_offset)
        return part

    def _part(self, node: ast.expr, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            self._refuse(f"too deep: at most {MAX_DEPTH} levels,", node.col_offset)
        match node:
            case ast.Name():
                return self._operand(int(node.id[1:]), node.col_offset)
            case ast.BoolOp():
                word = " and " if isinstance(node.op, ast.And) else " or "
                parts = [self._want(each, "truth", depth + 1).source for each in node.values]
                return _Part("truth", f"({word.join(parts)})")
            case ast.UnaryOp(op=ast.Not()):
                return _Part("truth", f"(not {self._want(node.operand, 'truth', depth + 1).source})")
            case ast.UnaryOp(op=ast.USub()):
                part = self._want(node.operand, "number", depth + 1)
                if part.value is not None:
                    return _constant(-part.value)
                return _Part("number", f"(-{part.source})")
            case ast.Compare():
                return self._comparison(node, depth + 1)
            case ast.BinOp() if type(node.op) in _SIGNS:
                return self._arithmetic(node, _SIGNS[type(node.op)], depth + 1)
        return self._refuse("not part of the language,", node.col_offset)

    def _operand(self, index: int, offset: int) -> _Part:
        token = self._tokens[index]
        name = token.text
        if token.is_number:
            if not _NUMBER.fullmatch(name):
                self._refuse("not a plain number (seconds, CNY or a count, without a unit),", offset)
            return self._finite(float(name), offset)
        if token.is_kind:
            kind = KINDS.get(name[1:-1])
            if kind is None:
                self._refuse(f"unknown kind (known: {', '.join(KINDS)})", offset)
            return _Part("kind", str(kind))
        if name in FIELDS:
            self._read_fields.add(name)
            return _Part(FIELDS[name][0], name)
        if name in self._features:
            self._read_features.add(name)
            return _Part("number", f"vector[{self._features[name]}]")
        near = get_close_matches(name[:100], [*FIELDS, *self._features], n=3)
        hint = f" (near: {', '.join(near)})" if near else ""
        return self._refuse(f"unknown name{hint}", offset)

    def _comparison(self, node: ast.Compare, depth: int) -> _Part:
        nodes = [node.left, *node.comparators]
        parts = [self._part(each, depth) for each in nodes]
        tests = []
        for operator, left, right, where in zip(node.ops, parts, parts[1:], nodes[1:], strict=False):
            sign = _SIGNS.get(type(operator))
            if sign is None or left.type != right.type:
                self._refuse(
                    f"{_WHAT[left.type]} can't be compared with {_WHAT[right.type]},", where.col_offset
                )
            if left.type == "truth":
                self._refuse("conditions aren't compared: use and, or, not,", where.col_offset)
            if left.type == "kind" and sign not in ("==", "!="):
                self._refuse("kinds are compared with == and != alone,", where.col_offset)
            if left.type == "number" and sign == "!=":
                tests.append(f"differ({left.source}, {right.source})")
            else:
                tests.append(f"{left.source} {sign} {right.source}")
        return _Part("truth", f"({' and '.join(tests)})")

    def _arithmetic(self, node: ast.BinOp, sign: str, depth: int) -> _Part:
        left, right = self._want(node.left, "number", depth), self._want(node.right, "number", depth)
        if sign == "/" and right.value == 0:
            self._refuse("division by zero", node.right.col_offset)
        if left.value is not None and right.value is not None:
            a, b = left.value, right.value
            result = a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a / b
            return self._finite(result, node.col_offset)
        if sign == "/" and right.value is None:
            return _Part("number", f"divide({left.source}, {right.source})")
        # In floats whatever the vector holds: products of integers would grow beyond what can be divided.
        return _Part("number", f"({'1.0 * ' if sign == '*' else ''}{left.source} {sign} {right.source})")

    def _finite(self, value: float, offset: int) -> _Part:
        if not math.isfinite(value):
            self._refuse("number too large", offset)
        return _constant(value)


def _constant(value: float) -> _Part:
    return _Part("number", f"({value!r})" if value < 0 else repr(value), value)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
