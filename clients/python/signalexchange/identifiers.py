"""Normalisers: one canonical text for every identifier, so that all members compute the same token from it.

Invariants: `normalise(t, normalise(t, x)) == normalise(t, x)`; what is invalid is rejected and nothing is
ever guessed (no region, no country, no missing digit, no dots taken out of an e-mail address); input and
output have at most 512 characters; no error message holds the value. A normaliser that starts to answer
otherwise gets a new version, which is part of the framed input, so that tokens of different rules can't be
mistaken for each other.
"""

import re
import unicodedata
from collections.abc import Callable

import phonenumbers
from stdnum import iban, luhn
from stdnum.cn import ric, uscc
from stdnum.exceptions import ValidationError

from signalexchange.errors import InvalidIdentifierError
from signalexchange.v1 import identifier_pb2 as pb

MAX_LENGTH = 512

TYPE_NAMES: dict[int, str] = {
    number: name.removeprefix("IDENTIFIER_TYPE_").lower()
    for name, number in pb.IdentifierType.items()
    if number != pb.IDENTIFIER_TYPE_UNSPECIFIED
}
"""The name of every identifier type."""

_GROUPED_DIGITS = re.compile(r"[0-9]+(?:[ -][0-9]+)*")
_PHONE = re.compile(r"\+[0-9](?:[ ().-]{0,3}[0-9])*")
_NATIONAL_ID = re.compile(r"[0-9]{17}[0-9X]")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[0-9A-Z]{11,30}")
_LOCAL_PART = re.compile(r"[^.@\s]+(?:\.[^.@\s]+)*")
_LOCAL_ASCII = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-.")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_USCC = re.compile(r"[1-9A-HJ-NPQRTUWXY][0-9A-HJ-NPQRTUWXY][0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_ACCOUNT = re.compile(r"([a-z][a-z0-9-]{1,31}):([0-9A-Z]{4,34})")
_COUNTRY = re.compile(r"[A-Z]{2}")
_POSTCODE = re.compile(r"[0-9A-Z]{3,10}")


class _InvalidError(Exception):
    """Why a value is not valid; becomes an InvalidIdentifierError."""


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _InvalidError(reason)


def type_name(type: int) -> str:  # noqa: A002 - the contract's name
    """The name of an IdentifierType, such as "phone". Raises InvalidIdentifierError for an unknown one."""
    name = TYPE_NAMES.get(type)
    if name is None:
        raise InvalidIdentifierError("identifier", "unknown identifier type")
    return name


def normalise(type: int, raw: str) -> str:  # noqa: A002 - the contract's name
    """The canonical text of an identifier: `raw` has 1 to 512 characters; white space around it is ignored.

    - phone: E.164 (ITU-T), "+" and country code; digits may be grouped; no national prefix, no extension.
    - national_id_cn: GB 11643, 18 characters with check digit and a calendar date; x becomes X.
    - card: ISO/IEC 7812, 12 to 19 digits, Luhn; single spaces or hyphens between digits are taken out.
    - iban: ISO 13616, mod 97, the country's structure; single spaces are taken out, letters become capitals.
    - email: local part a dot-atom (RFC 5322; letters and digits of any script, RFC 6531), lower-cased, since
      no mail system in use tells addresses apart by case and customers write both; domain as A-labels.
    - device: IMEI (15 digits, Luhn; separators as in card) or UUID (RFC 9562, lower-cased), but not all zeros
      or ones, which devices show in place of an identifier they withhold.
    - merchant: unified social credit code, GB 32100, 18 characters with check character, in capitals.
    - account: "scheme:number", scheme 2 to 32 of a–z, 0–9 and hyphen, number 4 to 34 of 0–9 and A–Z; case is
      ignored (a scheme that needs it can't be used), leading zeros count.
    - address: "CC|postcode|line", ISO 3166 alpha-2; 3 to 10 letters and digits (spaces and hyphens taken out;
      six digits in CN); 4 characters or more in NFKC, case-folded, white space collapsed, else as they are.

    Raises InvalidIdentifierError.
    """
    name = type_name(type)
    try:
        _require(len(raw) <= MAX_LENGTH, "longer than 512 characters")
        value = raw.strip()
        _require(value != "", "empty")
        normalised = _NORMALISERS[type](value)
        _require(len(normalised) <= MAX_LENGTH, "longer than 512 characters")
    except _InvalidError as error:
        raise InvalidIdentifierError(name, str(error)) from None
    return normalised


def _capitals(value: str) -> str:
    # Beyond ASCII, capitals can fall on an ASCII letter (ı, ſ), which would be a guess.
    _require(value.isascii(), "characters other than ASCII")
    return value.upper()


def _phone(value: str) -> str:
    _require(value.startswith("+"), "not in international form, + and country code")
    _require(_PHONE.fullmatch(value) is not None, "characters other than digits and separators")
    digits = "+" + "".join(character for character in value if character in "0123456789")
    try:
        number = phonenumbers.parse(digits, None)
    except phonenumbers.NumberParseException:
        raise _InvalidError("no such country code or not a number's length") from None
    _require(phonenumbers.is_valid_number(number), "not a number that its country assigns")
    # The parser drops a national prefix, as in +44 (0)20; that is a guess, and here it is refused.
    _require(
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == digits,
        "digits that do not belong to the international form",
    )
    return digits


def _national_id_cn(value: str) -> str:
    value = _capitals(value)
    _require(_NATIONAL_ID.fullmatch(value) is not None, "not 17 digits and a check digit")
    _require(value[6:8] in ("18", "19", "20"), "not a date of birth")
    try:
        ric.get_birth_date(value)
    except ValidationError:
        raise _InvalidError("not a date of birth") from None
    # The division code stays unchecked: every list of them is incomplete somewhere.
    _require(ric.calc_check_digit(value) == value[-1], "the check digit does not match")
    return value


def _grouped_digits(value: str, reason: str) -> str:
    _require(_GROUPED_DIGITS.fullmatch(value) is not None, reason)
    return value.replace(" ", "").replace("-", "")


def _card(value: str) -> str:
    digits = _grouped_digits(value, "characters other than digits and single separators")
    _require(12 <= len(digits) <= 19, "not 12 to 19 digits")
    _require(luhn.is_valid(digits), "the check digit does not match")
    return digits


def _iban(value: str) -> str:
    value = _capitals(value)
    _require("  " not in value, "more than one space between characters")
    value = value.replace(" ", "")
    _require(_IBAN.fullmatch(value) is not None, "not country code, check digits and account")
    # ISO 7064 gives check digits 02 to 98; 00, 01 and 99 would be a second spelling of the same account.
    _require(value[2:4] not in ("00", "01", "99"), "the check digits do not match")
    try:
        iban.validate(value, check_country=False)
    except ValidationError:
        raise _InvalidError("check digits or the country's structure do not match") from None
    return value


def _email(value: str) -> str:
    value = _stable(value, lambda text: unicodedata.normalize("NFC", text.lower()))
    local, at, domain = value.rpartition("@")
    _require(at == "@", "no @")
    _require(_LOCAL_PART.fullmatch(local) is not None, "the local part is not a dot-atom")
    _require(
        all(
            character in _LOCAL_ASCII
            if character.isascii()
            else unicodedata.category(character)[0] in ("L", "M", "N")
            for character in local
        ),
        "the local part has characters that are not allowed",
    )
    _require(len(local.encode()) <= 64, "the local part is longer than 64 bytes")
    return f"{local}@{_domain(domain)}"


def _domain(domain: str) -> str:
    try:
        ascii_form = domain.encode("idna").decode("ascii")
        # What IDNA 2003 maps to another spelling (ß, full-width letters) is refused: IDNA 2008 differs.
        unchanged = domain.isascii() or ascii_form.encode("ascii").decode("idna") == domain
        canonical = ascii_form.encode("ascii").decode("idna").encode("idna").decode("ascii") == ascii_form
    except UnicodeError:
        raise _InvalidError("the domain is not a valid internationalised name") from None
    _require(unchanged and canonical, "the domain is not in canonical form")
    labels = ascii_form.split(".")
    _require(len(ascii_form) <= 253 and len(labels) >= 2, "the domain has not two labels or is too long")
    _require(all(_LABEL.fullmatch(label) for label in labels), "a label of the domain is not valid")
    _require(not labels[-1].isdigit(), "the domain's last label is a number")
    return ascii_form


def _device(value: str) -> str:
    lower = value.lower()
    if _UUID.fullmatch(lower):
        _require(set(lower) - {"-"} not in ({"0"}, {"f"}), "a placeholder, not an identifier")
        return lower
    digits = _grouped_digits(value, "neither an IMEI nor a UUID")
    _require(len(digits) == 15, "neither an IMEI of 15 digits nor a UUID")
    _require(luhn.is_valid(digits), "the check digit does not match")
    _require(set(digits) != {"0"}, "a placeholder, not an identifier")
    return digits


def _merchant(value: str) -> str:
    value = _capitals(value)
    _require(_USCC.fullmatch(value) is not None, "not the 18 characters of a unified social credit code")
    _require(uscc.calc_check_digit(value) == value[-1], "the check character does not match")
    return value


def _account(value: str) -> str:
    scheme, _, number = value.partition(":")
    normalised = f"{_capitals(scheme).lower()}:{_capitals(number)}"
    _require(_ACCOUNT.fullmatch(normalised) is not None, "not scheme, colon and account number")
    return normalised


def _address(value: str) -> str:
    parts = value.split("|")
    _require(len(parts) == 3, "not country|postcode|line")
    country = _capitals(parts[0].strip())
    _require(_COUNTRY.fullmatch(country) is not None, "the country is not two letters")
    postcode = _capitals(parts[1]).replace(" ", "").replace("-", "")
    _require(_POSTCODE.fullmatch(postcode) is not None, "the postcode is not 3 to 10 letters and digits")
    _require(
        country != "CN" or (len(postcode) == 6 and postcode.isdigit()), "a postcode in CN has six digits"
    )
    line = _stable(parts[2], lambda text: " ".join(unicodedata.normalize("NFKC", text.casefold()).split()))
    _require("|" not in line, "the line holds a separator")
    _require(not any(unicodedata.category(character)[0] == "C" for character in line), "invisible characters")
    _require(len(line) >= 4 and any(character.isalnum() for character in line), "the line is too short")
    return f"{country}|{postcode}|{line}"


def _stable(text: str, step: Callable[[str], str]) -> str:
    """Apply a Unicode mapping until it changes nothing; a text that does not settle is refused."""
    for _ in range(4):
        mapped = step(text)
        if mapped == text:
            return text
        text = mapped
    raise _InvalidError("characters without a stable form")


_NORMALISERS: dict[int, Callable[[str], str]] = {
    pb.IDENTIFIER_TYPE_PHONE: _phone,
    pb.IDENTIFIER_TYPE_NATIONAL_ID_CN: _national_id_cn,
    pb.IDENTIFIER_TYPE_CARD: _card,
    pb.IDENTIFIER_TYPE_IBAN: _iban,
    pb.IDENTIFIER_TYPE_EMAIL: _email,
    pb.IDENTIFIER_TYPE_DEVICE: _device,
    pb.IDENTIFIER_TYPE_MERCHANT: _merchant,
    pb.IDENTIFIER_TYPE_ACCOUNT: _account,
    pb.IDENTIFIER_TYPE_ADDRESS: _address,
}

NORMALISER_VERSIONS: dict[int, int] = dict.fromkeys(_NORMALISERS, 1)
"""The version of each type's rules, part of what a token is computed from."""
