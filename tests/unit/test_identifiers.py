"""Normalisers: what they accept, what they refuse, and that they never guess or tell."""

import string
import unicodedata
import uuid
from collections.abc import Callable

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.errors import InvalidIdentifierError
from signalexchange.identifiers import MAX_LENGTH, NORMALISER_VERSIONS, TYPE_NAMES, normalise, type_name
from signalexchange.v1.identifier_pb2 import IdentifierType
from stdnum import iban, luhn
from stdnum.cn import ric, uscc

PHONE = IdentifierType.IDENTIFIER_TYPE_PHONE
NATIONAL_ID = IdentifierType.IDENTIFIER_TYPE_NATIONAL_ID_CN
CARD = IdentifierType.IDENTIFIER_TYPE_CARD
IBAN = IdentifierType.IDENTIFIER_TYPE_IBAN
EMAIL = IdentifierType.IDENTIFIER_TYPE_EMAIL
DEVICE = IdentifierType.IDENTIFIER_TYPE_DEVICE
MERCHANT = IdentifierType.IDENTIFIER_TYPE_MERCHANT
ACCOUNT = IdentifierType.IDENTIFIER_TYPE_ACCOUNT
ADDRESS = IdentifierType.IDENTIFIER_TYPE_ADDRESS

ACCEPTED = [
    (PHONE, "+8613800138000", "+8613800138000"),
    (PHONE, " +86 138-0013-8000\n", "+8613800138000"),
    (PHONE, "+44 (20) 7946.0018", "+442079460018"),
    (PHONE, "+39 06 6982", "+39066982"),  # a leading zero that belongs to the number
    (NATIONAL_ID, "11010519491231002x", "11010519491231002X"),
    (CARD, "4111 1111 1111 1111", "4111111111111111"),
    (CARD, "6212-3456-7890-0000-003", "6212345678900000003"),
    (IBAN, "gb82 west 1234 5698 7654 32", "GB82WEST12345698765432"),
    (IBAN, "DE89370400440532013000", "DE89370400440532013000"),
    (EMAIL, " Wang.Wei+Shop@Example.COM ", "wang.wei+shop@example.com"),
    (EMAIL, "a@bücher.example", "a@xn--bcher-kva.example"),
    (EMAIL, "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
    (EMAIL, "王伟@例子.中国", "王伟@xn--fsqu00a.xn--fiqs8s"),
    (DEVICE, "49-015420-323751-8", "490154203237518"),
    (DEVICE, "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
    (MERCHANT, "91110000600037341l", "91110000600037341L"),
    (ACCOUNT, "CN-UnionPay:0621700ab", "cn-unionpay:0621700AB"),
    (ADDRESS, "cn|100-083|  Haidian  District,\tNo. 5 ", "CN|100083|haidian district, no. 5"),
    (ADDRESS, "CN|100083|海淀区中关村大街２７号", "CN|100083|海淀区中关村大街27号"),
    (ADDRESS, "GB|SW1A 1AA|10 Downing Straße", "GB|SW1A1AA|10 downing strasse"),
]

REFUSED = [
    (PHONE, "13800138000"),  # no country code: a region is never guessed
    (PHONE, "008613800138000"),
    (PHONE, "+8612345"),
    (PHONE, "+44 (0)20 7946 0018"),
    (PHONE, "+1 800 FLOWERS"),
    (PHONE, "+8613800138000 ext. 5"),
    (PHONE, "+８６13800138000"),
    (PHONE, "+999123456789"),
    (PHONE, "+" + "1" * 300),
    (NATIONAL_ID, "110105194912310021"),
    (NATIONAL_ID, "11010519490231002X"),
    (NATIONAL_ID, "110105491231002"),
    (NATIONAL_ID, "11010519491231 002X"),
    (CARD, "4111111111111112"),
    (CARD, "41111111116"),
    (CARD, "4111  1111 1111 1111"),
    (CARD, "-4111111111111111"),
    (CARD, "４111111111111111"),
    (IBAN, "GB82WEST12345698765433"),
    (IBAN, "XX82WEST12345698765432"),
    (IBAN, "DE8937040044053201300"),
    (IBAN, "gb82ı234"),
    (EMAIL, "no-at.example.com"),
    (EMAIL, "@example.com"),
    (EMAIL, "a@localhost"),
    (EMAIL, "a..b@example.com"),
    (EMAIL, ".a@example.com"),
    (EMAIL, '"a b"@example.com'),
    (EMAIL, "a@b@example.com"),
    (EMAIL, "a@-x.example"),
    (EMAIL, "a@example.com."),
    (EMAIL, "a@127.0.0.1"),
    (EMAIL, "a@faß.example"),
    (EMAIL, "a@例子。中国"),
    (EMAIL, "a@ｅxample.com"),
    (EMAIL, "a\u200b@example.com"),
    (EMAIL, "a" * 65 + "@example.com"),
    (EMAIL, "a@xn--a.example"),
    (DEVICE, "490154203237519"),
    (DEVICE, "000000000000000"),
    (DEVICE, "00000000-0000-0000-0000-000000000000"),
    (DEVICE, "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
    (DEVICE, "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}"),
    (DEVICE, "f81d4fae7dec11d0a76500a0c91e6bf6"),
    (MERCHANT, "91110000600037342L"),
    (MERCHANT, "91110000600037341I"),
    (MERCHANT, "9111000060003734"),
    (ACCOUNT, "6217000000000000"),
    (ACCOUNT, "cn-unionpay:"),
    (ACCOUNT, "cn-unionpay:62170 0000"),
    (ACCOUNT, "\u212aind:1234"),
    (ACCOUNT, "x:1234:5678"),
    (ADDRESS, "CHN|100083|some street"),
    (ADDRESS, "CN|10008|some street"),
    (ADDRESS, "CN|100083|x|some street"),
    (ADDRESS, "CN|100083|some ｜ street"),
    (ADDRESS, "CN|100083|some\u200b street"),
    (ADDRESS, "CN|100083|some \ud800 street"),
    (ADDRESS, "CN|100083|..."),
    (ADDRESS, "CN|100083|" + "\ufdfa" * 100),
]


@pytest.mark.parametrize(("type_", "raw", "expected"), ACCEPTED)
def test_accepted(type_: int, raw: str, expected: str) -> None:
    assert normalise(type_, raw) == expected
    assert normalise(type_, expected) == expected


@pytest.mark.parametrize(("type_", "raw"), REFUSED)
def test_refused_without_telling_the_value(type_: int, raw: str) -> None:
    with pytest.raises(InvalidIdentifierError) as caught:
        normalise(type_, raw)
    assert caught.value.type_name == TYPE_NAMES[type_]
    assert raw not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("type_", TYPE_NAMES)
@pytest.mark.parametrize("raw", ["", "   ", "x" * (MAX_LENGTH + 1), "\0", "\ud800"])
def test_refused_by_every_type(type_: int, raw: str) -> None:
    with pytest.raises(InvalidIdentifierError):
        normalise(type_, raw)


@pytest.mark.parametrize("type_", [0, 10, -1])
def test_unknown_types(type_: int) -> None:
    with pytest.raises(InvalidIdentifierError, match="unknown identifier type"):
        normalise(type_, "x")
    with pytest.raises(InvalidIdentifierError):
        type_name(type_)


def test_every_type_of_the_contract_has_a_normaliser() -> None:
    numbers = {number for number in IdentifierType.values() if number}
    assert set(TYPE_NAMES) == set(NORMALISER_VERSIONS) == numbers
    assert TYPE_NAMES[NATIONAL_ID] == "national_id_cn"


@pytest.mark.parametrize("digits", ["00", "01", "99"])
def test_an_iban_has_one_spelling(digits: str) -> None:
    """Check digits that are congruent mod 97 would name the same account twice."""
    for number in range(400):
        bban = f"37040044{number:010d}"
        right = iban.calc_check_digits(f"DE00{bban}")
        if int(right) % 97 == int(digits) % 97:
            assert normalise(IBAN, f"DE{right}{bban}") == f"DE{right}{bban}"
            with pytest.raises(InvalidIdentifierError):
                normalise(IBAN, f"DE{digits}{bban}")
            return
    pytest.fail("no such account found")


def _with_check(code: str, check: Callable[[str], str]) -> str:
    return code[:17] + check(code)


texts = st.text(max_size=80)
valid: dict[int, st.SearchStrategy[str]] = {
    PHONE: st.integers(0, 10**8 - 1).map(lambda n: f"+86138{n:08d}"),
    NATIONAL_ID: st.tuples(st.dates().filter(lambda d: 1800 <= d.year < 2100), st.integers(0, 999)).map(
        lambda pair: _with_check(f"110105{pair[0]:%Y%m%d}{pair[1]:03d}0", ric.calc_check_digit)
    ),
    CARD: st.text("0123456789", min_size=11, max_size=18).map(lambda s: s + luhn.calc_check_digit(s)),
    IBAN: st.integers(0, 10**18 - 1).map(lambda n: f"DE{iban.calc_check_digits(f'DE00{n:018d}')}{n:018d}"),
    EMAIL: st.tuples(
        st.text(string.ascii_letters, min_size=1, max_size=20), st.sampled_from(["A.example", "ü.example"])
    ).map("@".join),
    DEVICE: st.uuids().filter(lambda u: 0 < u.int < 2**128 - 1).map(str),
    MERCHANT: st.integers(0, 10**9 - 1).map(
        lambda n: _with_check(f"91110000{n:09d}0", lambda code: str(uscc.calc_check_digit(code[:17])))
    ),
    ACCOUNT: st.tuples(
        st.text(string.ascii_letters, min_size=2, max_size=9),
        st.text("0123456789aB", min_size=4, max_size=34),
    ).map(":".join),
    ADDRESS: st.text(min_size=4, max_size=60).map(lambda line: f"CN|100083|{line}"),
}


@given(st.sampled_from(sorted(valid)), st.data())
@settings(max_examples=300, deadline=None)
def test_normalising_twice_changes_nothing(type_: int, data: st.DataObject) -> None:
    raw = data.draw(valid[type_])
    try:
        once = normalise(type_, raw)
    except InvalidIdentifierError:
        # Some numbers of a range are not assigned, some texts have no address line in them.
        assert type_ in (PHONE, ADDRESS)
        return
    assert normalise(type_, once) == once
    assert normalise(type_, f"  {raw}\t") == once
    assert len(once) <= MAX_LENGTH
    once.encode()


@given(st.sampled_from(sorted(valid)), texts)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_normalised_or_refused(type_: int, raw: str) -> None:
    try:
        once = normalise(type_, raw)
    except InvalidIdentifierError:
        return
    assert normalise(type_, once) == once


@given(st.text(max_size=40), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_email_is_stable(local: str, domain: str) -> None:
    raw = f"{local}@{domain}.example"
    try:
        once = normalise(EMAIL, raw)
    except InvalidIdentifierError:
        return
    assert normalise(EMAIL, once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_one_wrong_digit_is_noticed(data: st.DataObject) -> None:
    type_ = data.draw(st.sampled_from([CARD, IBAN, NATIONAL_ID, MERCHANT]))
    value = normalise(type_, data.draw(valid[type_]))
    # The last digits, so that a changed date or country does not decide first.
    position = data.draw(st.integers(len(value) - 4, len(value) - 2))
    changed = (
        value[:position]
        + str((int(value[position]) + data.draw(st.integers(1, 9))) % 10)
        + value[position + 1 :]
    )
    with pytest.raises(InvalidIdentifierError):
        normalise(type_, changed)


def test_phones_keep_their_digits() -> None:
    """Whatever the library's metadata of a release say, a number is refused or kept, never changed."""
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number(region)
        if example is None:
            continue
        text = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        try:
            assert normalise(PHONE, text) == text
        except InvalidIdentifierError:
            continue


def test_a_uuid_keeps_its_value() -> None:
    value = uuid.uuid4()
    assert normalise(DEVICE, str(value).upper()) == str(value)
