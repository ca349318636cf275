"""Sharing, commitments and combination."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange import ristretto, voprf
from signalexchange.errors import ExchangeError, MalformedError, VerificationError
from signalexchange.threshold import (
    Dealing,
    Partial,
    combine,
    deal,
    lagrange_at_zero,
    public_share,
    verify_public_shares,
    verify_share,
)

POINT = voprf.blind(b"a point")[1]


def partial(dealing: Dealing, index: int, generation: int = 1) -> Partial:
    return Partial(index, generation, [ristretto.multiply(dealing.shares[index], POINT)])


@given(st.integers(2, 4), st.integers(0, 2), st.data())
@settings(max_examples=20, deadline=None)
def test_any_t_shares_evaluate_as_the_joint_key_does(threshold: int, spare: int, data: st.DataObject) -> None:
    indices = data.draw(
        st.lists(st.integers(1, 255), min_size=threshold + spare, max_size=threshold + spare, unique=True)
    )
    secret = ristretto.random_scalar()
    dealing = deal(threshold, indices, secret)
    verify_public_shares(dealing.public_key, dealing.commitments, dealing.public_shares, threshold)
    for index in indices:
        verify_share(index, dealing.shares[index], dealing.commitments)
        assert public_share(dealing.commitments, index) == dealing.public_shares[index]
    chosen = data.draw(st.permutations(indices))[:threshold]
    assert combine([partial(dealing, index) for index in chosen], threshold) == [
        ristretto.multiply(secret, POINT)
    ]


def test_factors_unblind_while_combining() -> None:
    dealing = deal(2, [1, 2, 3])
    blind, element = voprf.blind(b"input")
    partials = [Partial(i, 1, [ristretto.multiply(dealing.shares[i], element)]) for i in (1, 3)]
    (evaluated,) = combine(partials, 2)
    inverse = ristretto.scalar_invert(blind)
    assert combine(partials, 2, [inverse]) == [ristretto.multiply(inverse, evaluated)]


def test_fewer_than_t_shares_combine_to_something_else() -> None:
    secret = ristretto.random_scalar()
    dealing = deal(3, [1, 2, 3, 4], secret)
    for pair in combinations([1, 2, 3, 4], 2):
        with pytest.raises(VerificationError, match="not the threshold"):
            combine([partial(dealing, index) for index in pair], 3)
        assert combine([partial(dealing, index) for index in pair], 2) != [ristretto.multiply(secret, POINT)]


def with_element(part: Partial, element: bytes) -> Partial:
    return replace(part, elements=[element])


Alter = Callable[[Partial, Partial], list[Partial]]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda a, b: [a, a], "twice"),
        (lambda a, b: [a, replace(b, index=0)], "1 to 255"),
        (lambda a, b: [a, replace(b, index=256)], "1 to 255"),
        (lambda a, b: [a, replace(b, generation=2)], "generations"),
        (lambda a, b: [a], "threshold"),
        (lambda a, b: [a, b, replace(b, index=3)], "threshold"),
        (lambda a, b: [a, replace(b, elements=[])], "length"),
        (lambda a, b: [a, with_element(b, ristretto.IDENTITY)], "identity"),
        (lambda a, b: [a, with_element(b, b"\xff" * 32)], "canonical"),
        (lambda a, b: [a, with_element(b, b"\x01")], "32 bytes"),
    ],
)
def test_what_combine_refuses(alter: Alter, message: str) -> None:
    dealing = deal(2, [1, 2, 3])
    with pytest.raises(ExchangeError, match=message):
        combine(alter(partial(dealing, 1), partial(dealing, 2)), 2)


def test_combine_refuses_partials_that_cancel_out() -> None:
    coefficients = lagrange_at_zero([1, 2])
    point = ristretto.multiply(ristretto.scalar_invert(coefficients[1]), POINT)
    minus_one = ristretto.scalar_from_int(-1)
    other = ristretto.multiply(ristretto.scalar_invert(coefficients[2]), ristretto.multiply(minus_one, POINT))
    with pytest.raises(MalformedError, match="identity"):
        combine([Partial(1, 1, [point]), Partial(2, 1, [other])], 2)


@pytest.mark.parametrize(
    ("threshold", "indices"), [(1, [1, 2]), (3, [1, 2]), (2, [0, 1]), (2, [1, 1]), (2, [1, 256])]
)
def test_what_deal_refuses(threshold: int, indices: list[int]) -> None:
    with pytest.raises(MalformedError):
        deal(threshold, indices)


def test_a_share_of_another_index_or_dealing_is_refused() -> None:
    dealing, other = deal(2, [1, 2, 3]), deal(2, [1, 2, 3])
    for index, share in ((2, dealing.shares[1]), (1, other.shares[1])):
        with pytest.raises(VerificationError):
            verify_share(index, share, dealing.commitments)
    with pytest.raises(MalformedError):
        verify_share(1, bytes(32), dealing.commitments)
    with pytest.raises(MalformedError):
        verify_share(1, dealing.shares[1], [ristretto.IDENTITY, dealing.commitments[1]])


@pytest.mark.parametrize(
    "alter",
    [
        lambda d: (d.public_shares[1], d.commitments, d.public_shares),
        lambda d: (d.public_key, d.commitments[::-1], d.public_shares),
        lambda d: (d.public_key, d.commitments[:1], d.public_shares),
        lambda d: (d.public_key, (*d.commitments, d.commitments[1]), d.public_shares),
        lambda d: (d.public_key, d.commitments, {**d.public_shares, 3: d.public_shares[1]}),
        lambda d: (d.public_key, d.commitments, {1: d.public_shares[2], 2: d.public_shares[1]}),
        lambda d: (d.public_key, d.commitments, {0: d.public_key, 1: d.public_shares[1]}),
        lambda d: (d.public_key, d.commitments, {**d.public_shares, 3: ristretto.IDENTITY}),
        lambda d: (d.public_key, d.commitments, {1: d.public_shares[1]}),
    ],
)
def test_public_shares_off_the_polynomial_are_refused(
    alter: Callable[[Dealing], tuple[bytes, tuple[bytes, ...], Mapping[int, bytes]]],
) -> None:
    public_key, commitments, shares = alter(deal(2, [1, 2, 3]))
    with pytest.raises(ExchangeError):
        verify_public_shares(public_key, commitments, shares, 2)


def test_shares_are_not_shown() -> None:
    dealing = deal(2, [1, 2])
    assert repr(dealing.shares[1])[2:-1] not in repr(dealing)
    assert "shares={1" not in repr(dealing).replace("public_shares={1", "")
