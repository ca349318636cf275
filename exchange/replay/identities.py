"""Valid identifiers for the numbered terminals and customers of a transactions file.

Invariants: both mappings are one-to-one and reversible; what they give is valid for its type by the SDK's
ordinary normalisers, already in normal form; numbers that are neighbours in the file are not neighbours in
the result. The control's phone number is in the image of neither.
"""

from stdnum.cn import uscc

TERMINALS = 10**8
"""Terminal numbers are 0 to TERMINALS − 1."""
CUSTOMERS = 10**9
"""Customer numbers are 0 to CUSTOMERS − 1."""

# Affine permutations modulo a power of ten: a power of three is coprime to ten, so each has an inverse.
_TERMINAL_FACTOR, _TERMINAL_SHIFT = 3**16, 31_415_926
_CUSTOMER_FACTOR, _CUSTOMER_SHIFT = 3**18, 271_828_182

# Registered by the market regulator (9), an enterprise (1), in Pudong (310115).
_REGISTRATION = "91310115"
# Every number 130…139 followed by eight digits is a Chinese mobile number.
_MOBILE = "+8613"
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

CONTROL_PHONE = "+8619912345678"
"""A valid phone number of no customer: it starts 199, customers' start 130 to 139."""


def merchant_of(terminal: int) -> str:
    """The unified social credit code (GB 32100-2015) of a terminal, 0 ≤ `terminal` < TERMINALS."""
    body = f"{(terminal * _TERMINAL_FACTOR + _TERMINAL_SHIFT) % TERMINALS:08d}"
    code = _REGISTRATION + body + _organisation_check(body)
    return code + uscc.calc_check_digit(code)


def terminal_of(merchant: str) -> int:
    """The terminal of a code that `merchant_of` gave."""
    number = int(merchant[8:16]) - _TERMINAL_SHIFT
    return number * pow(_TERMINAL_FACTOR, -1, TERMINALS) % TERMINALS


def phone_of(customer: int) -> str:
    """The phone number (E.164) of a customer, 0 ≤ `customer` < CUSTOMERS."""
    return f"{_MOBILE}{(customer * _CUSTOMER_FACTOR + _CUSTOMER_SHIFT) % CUSTOMERS:09d}"


def customer_of(phone: str) -> int:
    """The customer of a number that `phone_of` gave."""
    number = int(phone.removeprefix(_MOBILE)) - _CUSTOMER_SHIFT
    return number * pow(_CUSTOMER_FACTOR, -1, CUSTOMERS) % CUSTOMERS


def _organisation_check(body: str) -> str:
    """The check character of an organisation code (GB 11714-1997), which the social credit code embeds."""
    check = (
        11 - sum(int(digit) * weight for digit, weight in zip(body, _ORGANISATION_WEIGHTS, strict=True)) % 11
    )
    return {10: "X", 11: "0"}.get(check, str(check))
