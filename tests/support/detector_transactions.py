"""Transactions for the detector's tests."""

from hypothesis import strategies as st
from signalexchange.detector.transactions import MAX_CENTS, MAX_TEXT, Transaction
from signalexchange.flows import Kind

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_TEXT).filter(
    lambda text: text == text.strip()
)
CENTS = st.integers(1, MAX_CENTS)


def transactions() -> st.SearchStrategy[Transaction]:
    """Any transaction within the bounds."""
    known_or_not = st.just("") | KEYS
    return st.builds(
        Transaction,
        id=KEYS,
        time=st.integers(0, 2**33),
        customer=KEYS,
        amount=CENTS,
        kind=st.sampled_from(Kind),
        merchant=known_or_not,
        payee=known_or_not,
        device=known_or_not,
        card=known_or_not,
        credit=st.booleans(),
        limit=st.just(0) | CENTS,
    )
