"""The text form of LightGBM's trees, checked before LightGBM reads it.

Invariant: text that passes `check_trees` describes whole binary trees over the named features, with numeric
splits and finite leaves. LightGBM trusts what it reads: a count that is wrong
makes it read beyond its arrays or end the process, so nothing else may reach it.

The form is that of `Booster.model_to_string`, version v4, up to and with the line "end of trees"; what stands
behind that line (importances, parameters) is left out of a stored model.
"""

import math
import re
from collections.abc import Sequence
from typing import Final

from signalexchange.errors import MalformedError

MAX_TREES: Final = 5_000
MAX_LEAVES: Final = 1_024
MAX_DEPTH: Final = 512
"""Deeper trees than any training makes: a bound for LightGBM's recursion where it explains a score."""
END: Final = "end of trees\n"

_HEADER: Final = ("num_class=1", "num_tree_per_iteration=1", "label_index=0")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,9})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,30})?(?:e[+-][0-9]{1,3})?")
_NODES: Final = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
)
_INTEGERS: Final = frozenset(
    {"split_feature", "decision_type", "left_child", "right_child", "leaf_count", "internal_count"}
)
_KEYS: Final = (
    *_NODES,
    *("leaf_value", "leaf_weight", "leaf_count"),
    *("internal_value", "internal_weight", "internal_count"),
)


def stored_part(text: str) -> str:
    """What of `Booster.model_to_string` is stored; raises MalformedError where the trees have no end."""
    end = text.find(END)
    if end < 0:
        raise MalformedError("trees: cut short")
    return text[: end + len(END)]


def check_trees(text: str, features: Sequence[str]) -> int:
    """Check stored trees against the names of the features, in order; gives how many trees there are.

    Raises MalformedError. At most MAX_TREES trees of MAX_LEAVES leaves and MAX_DEPTH levels each.
    """
    if not text.isascii() or not text.endswith("\n\n" + END):
        raise MalformedError("trees: cut short, or not ASCII")
    head, *blocks = text[: -len(END)].split("\n\n")
    lines = head.split("\n")
    if len(lines) != 10 or lines[:2] != ["tree", "version=v4"] or tuple(lines[2:5]) != _HEADER:
        raise MalformedError("trees: not the text of one LightGBM model of version v4")
    if lines[5] != f"max_feature_idx={len(features) - 1}":
        raise MalformedError("trees: another number of features")
    if lines[6] != "objective=binary sigmoid:1":
        raise MalformedError("trees: not made to tell two classes apart")
    if lines[7] != "feature_names=" + " ".join(features):
        raise MalformedError("trees: other features")
    _check_infos(lines[8], len(features))
    # Two empty lines follow each tree, one follows the last: LightGBM finds a tree by the sizes given here.
    trees = [block.removeprefix("\n") for block in blocks if block.strip("\n")]
    if len(trees) > MAX_TREES or not trees:
        raise MalformedError(f"trees: not 1 to {MAX_TREES} of them")
    sizes = " ".join(str(len(tree) + 3) for tree in trees)
    if (
        lines[9] != f"tree_sizes={sizes}"
        or text != "\n".join(lines) + "\n\n" + "".join(tree + "\n\n\n" for tree in trees) + END
    ):
        raise MalformedError("trees: sizes that are not the trees'")
    for index, tree in enumerate(trees):
        try:
            _check_tree(index, tree.split("\n"), len(features))
        except MalformedError as error:
            raise MalformedError(f"tree {index}: {error}") from None
    return len(trees)


def _check_infos(line: str, features: int) -> None:
    infos = line.removeprefix("feature_infos=").split(" ")
    for info in infos:
        bounds = info[1:-1].split(":")
        if info != "none" and (
            (info[:1], info[-1:]) != ("[", "]")
            or len(bounds) != 2
            or not all(_NUMBER.fullmatch(bound) for bound in bounds)
        ):
            raise MalformedError("trees: feature_infos is not a list of ranges")
    if not line.startswith("feature_infos=") or len(infos) != features:
        raise MalformedError("trees: feature_infos has another number of features")


def _check_tree(index: int, lines: list[str], features: int) -> None:
    if len(lines) < 3 or lines[0] != f"Tree={index}":
        raise MalformedError("not where it should be")
    leaves = _integers(lines[1].removeprefix("num_leaves="), 1)[0]
    if not 2 <= leaves <= MAX_LEAVES or lines[1] != f"num_leaves={leaves}" or lines[2] != "num_cat=0":
        raise MalformedError(f"not 2 to {MAX_LEAVES} leaves with numeric splits")
    fields = dict(line.split("=", 1) for line in lines[3:] if "=" in line)
    keys = (*_KEYS, "is_linear", "shrinkage")
    if lines[3:] != [f"{key}={fields.get(key, '')}" for key in keys]:
        raise MalformedError("fields that are missing, twice there or in another order")
    if fields["is_linear"] != "0":
        raise MalformedError("leaves that are not plain numbers")
    _numbers(fields["shrinkage"], 1)
    for key in _KEYS:
        count = leaves if key.startswith("leaf_") else leaves - 1
        if key in _INTEGERS:
            _integers(fields[key], count)
        else:
            # A threshold of inf parts what is known from what is not.
            _numbers(fields[key], count, also="inf" if key == "threshold" else "")
    _check_splits(fields, leaves, features)


def _check_splits(fields: dict[str, str], leaves: int, features: int) -> None:
    nodes = leaves - 1
    if not all(0 <= feature < features for feature in _integers(fields["split_feature"], nodes)):
        raise MalformedError("a split by a feature there is not")
    # bit 0: categorical; bit 1: where missing values go; bits 2 and 3: what is missing (none, zero, NaN)
    if not all(kind in (0, 2, 4, 6, 8, 10) for kind in _integers(fields["decision_type"], nodes)):
        raise MalformedError("a split that is not numeric")
    children = zip(
        _integers(fields["left_child"], nodes), _integers(fields["right_child"], nodes), strict=True
    )
    depth = [0] + [-1] * (nodes - 1)
    seen: set[int] = {0}
    for node, pair in enumerate(children):
        if not 0 <= depth[node] < MAX_DEPTH:  # a parent is always numbered before its children
            raise MalformedError("a split that hangs on none before it, or too deep")
        for child in pair:
            if child in seen or not -leaves <= child < nodes:
                raise MalformedError("not a tree")
            seen.add(child)
            if child > 0:
                depth[child] = depth[node] + 1
    if len(seen) != nodes + leaves:
        raise MalformedError("not a tree")
    counts = [int(word) for key in ("leaf_count", "internal_count") for word in fields[key].split()]
    if not all(0 < count < 2**31 for count in counts):
        raise MalformedError("a part that no row reached")  # TreeSHAP divides by the counts


def _integers(text: str, count: int) -> list[int]:
    words = text.split(" ")
    if len(words) != count or not all(_INTEGER.fullmatch(word) for word in words):
        raise MalformedError(f"not {count} whole numbers")
    return [int(word) for word in words]


def _numbers(text: str, count: int, also: str = "") -> None:
    """Check finite numbers; `also` is one more word that may stand for one."""
    words = text.split(" ")
    if len(words) != count or not all(
        (_NUMBER.fullmatch(word) and math.isfinite(float(word))) or (word and word == also) for word in words
    ):
        raise MalformedError(f"not {count} numbers")
