"""The detector's rules: a TOML file of conditions over the features and the transaction, each with what
follows.

Invariants: rules are data; a file is taken whole or refused whole, with file, line and reason; names are
unique; hits come in the file's order; judging reads the vector and the transaction and nothing else, changes
nothing and raises nothing. signalexchange.detector.conditions has the language of conditions;
docs/detector-rules.md describes both.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field, ValidationError

from signalexchange.detector.conditions import FIELDS, FUNCTIONS, Condition, ConditionError, translate
from signalexchange.errors import ConfigError
from signalexchange.settings import Section

MAX_RULES = 1000
MAX_CHARACTERS = 1_000_000
"""Of a rule file."""

Action = Literal["proceed", "authenticate", "hold", "review"]
"""What a rule asks for: nothing; that the customer proves who it is; that the transaction waits for a person;
that a person looks at it afterwards."""


class RuleFileError(ConfigError):
    """A rule file that can't be used: which file, in which `line` (from 1), and the `reason`."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}: line {line}: {reason}")
        self.line = line
        self.reason = reason


class Judged(Protocol):
    """What rules read of a transaction: `time` in Unix seconds, `amount` and `limit` in cents, a Kind."""

    @property
    def time(self) -> int: ...  # noqa: D102
    @property
    def amount(self) -> int: ...  # noqa: D102
    @property
    def limit(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> int: ...  # noqa: D102
    @property
    def credit(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that applies: `score` in permille, 0 to 1000."""

    name: str
    score: int
    action: Action
    reason: str


class Rule(Section):
    """A [[rule]] of the file. `reason` is for people: why what it describes is worth a look."""

    name: Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9-]{1,63}$")]
    when: Annotated[str, Field(strict=True, min_length=1, max_length=4000)]
    score: Annotated[int, Field(strict=True, ge=0, le=1000)]
    action: Action
    reason: Annotated[str, Field(strict=True, min_length=1, max_length=500)]


class _File(Section):
    version: Annotated[int, Field(strict=True, ge=1, le=2**31)]
    rule: Annotated[list[Rule], Field(min_length=1, max_length=MAX_RULES)]


@dataclass(frozen=True, slots=True)
class Rules:
    """A rule file's `version`, its rules in order, the `features` they read, and the judge made of them.

    `judge(vector, transaction)` gives the Hits of a feature vector, which holds a number for each name that
    `parse` was given, in that order.
    """

    version: int
    rules: tuple[Rule, ...]
    features: frozenset[str]
    judge: Callable[[Sequence[float], Judged], list[Hit]]

    @classmethod
    def parse(cls, text: str, features: Sequence[str], file: str = "rules") -> Self:
        """Read a rule file's text; `file` names it in errors. Raises RuleFileError."""
        if len(text) > MAX_CHARACTERS:
            raise RuleFileError(file, 1, f"more than {MAX_CHARACTERS} characters")
        try:
            table = tomllib.loads(text)
        except RecursionError:
            raise RuleFileError(file, 1, "not a TOML file: nested too deeply") from None
        except ValueError as error:
            raise RuleFileError(file, _error_line(text, str(error)), f"not a TOML file: {error}") from None
        lines = _Lines(text)
        rules = table.get("rule")
        if isinstance(rules, list) and len(rules) != len(lines.rules):
            raise RuleFileError(file, lines.top("rule"), "rule: each rule is a table headed [[rule]]")
        try:
            content = _File.model_validate(table)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise RuleFileError(file, *_place(lines, first["loc"], first["msg"])) from None
        return cls._of(content, features, file, lines)

    @classmethod
    def read(cls, path: Path, features: Sequence[str]) -> Self:
        """Read a rule file. Raises RuleFileError, or ConfigError where the file can't be read."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: can't read the rules: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise RuleFileError(str(path), line, "not UTF-8") from None
        return cls.parse(text, features, str(path))

    @classmethod
    def default(cls, features: Sequence[str]) -> Self:
        """The packaged rules."""
        return cls.parse(default_text(), features, "rules.toml")

    @classmethod
    def _of(cls, content: _File, features: Sequence[str], file: str, lines: "_Lines") -> Self:
        indices = {name: index for index, name in enumerate(features)}
        first_uses: dict[str, int] = {}
        conditions = []
        for number, rule in enumerate(content.rule):
            first = first_uses.setdefault(rule.name, number)
            if first != number:
                earlier = lines.key(first, "name")
                raise RuleFileError(
                    file,
                    lines.key(number, "name"),
                    f"rule {rule.name}: the name stands in line {earlier} too",
                )
            try:
                conditions.append(translate(rule.when, indices))
            except ConditionError as error:
                line = lines.key(number, "when")
                raise RuleFileError(file, line, f"rule {rule.name}: when: {error}") from None
        read = frozenset[str]().union(*(condition.features for condition in conditions))
        return cls(content.version, tuple(content.rule), read, _judge(content.rule, conditions))


def default_text() -> str:
    """The packaged rule file's text."""
    return files("signalexchange.detector").joinpath("rules.toml").read_text("utf-8")


def _judge(
    rules: Sequence[Rule], conditions: Sequence[Condition]
) -> Callable[[Sequence[float], Judged], list[Hit]]:
    """One function for all rules: a call a rule would cost more than most conditions."""
    names = sorted(frozenset[str]().union(*(condition.fields for condition in conditions)))
    source = ["def judge(vector, t):"]
    source += [f"    {name} = {FIELDS[name][1]}" for name in names]
    source.append("    hits = []")
    namespace: dict[str, Any] = {"__builtins__": {}, **FUNCTIONS}
    for number, (rule, condition) in enumerate(zip(rules, conditions, strict=True)):
        namespace[f"hit{number}"] = Hit(rule.name, rule.score, rule.action, rule.reason)
        source.append(f"    if {condition.source}: hits.append(hit{number})")
    source.append("    return hits")
    # The source is `translate`'s own: of the file it holds nothing but numbers that went through float.
    exec(compile("\n".join(source), "<rules>", "exec"), namespace)  # noqa: S102
    judge: Callable[[Sequence[float], Judged], list[Hit]] = namespace["judge"]
    return judge


def _error_line(text: str, message: str) -> int:
    named = re.search(r"at line (\d+), column", message)
    return int(named[1]) if named else max(text.rstrip().count("\n") + 1, 1)


def _place(lines: "_Lines", path: tuple[str | int, ...], message: str) -> tuple[int, str]:
    """Line and reason of a pydantic error."""
    match path:
        case ("rule", int(number), str(key), *_):
            return lines.key(number, key), f"rule {number + 1}: {key}: {message}"
        case (str(key), *_):
            return lines.top(key), f"{key}: {message}"
    return 1, message


class _Lines:
    """Where things stand in text that is TOML: its parser doesn't say.

    Strings and comments are blanked first, so that what looks like a header or a key inside them is none.
    """

    _QUOTED = re.compile(
        r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|#[^\n]*",
        re.DOTALL,
    )
    _HEADER = re.compile(r"[ \t]*\[\[[ \t]*rule[ \t]*\]\]")

    def __init__(self, text: str) -> None:
        # Only \n and \r\n end a line in TOML.
        self._lines = self._QUOTED.sub(lambda match: "\n" * match[0].count("\n"), text).split("\n")
        self.rules = [number for number, line in enumerate(self._lines, 1) if self._HEADER.match(line)]

    def key(self, rule: int, key: str) -> int:
        """Line of a rule's key, or, where it lacks, of the rule's header."""
        start = self.rules[rule]
        end = self.rules[rule + 1] - 1 if rule + 1 < len(self.rules) else len(self._lines)
        return self._find(key, start, end) or start

    def top(self, key: str) -> int:
        """Line of a key of the file itself, or 1."""
        return self._find(key, 0, len(self._lines)) or 1

    def _find(self, key: str, start: int, end: int) -> int:
        pattern = re.compile(rf"[ \t]*\[*[ \t]*(?:rule[ \t]*\.[ \t]*)?{re.escape(key)}[ \t]*[=.\]]")
        found = (number for number in range(start, end) if pattern.match(self._lines[number]))
        return next((number + 1 for number in found), 0)
