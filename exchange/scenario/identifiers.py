"""Identifiers of people and things that do not exist.

Invariants: each is valid for its type by the SDK's normalisers and in normal form; none is handed out twice;
numbers lie in ranges that nobody holds: division codes 99xxxx, bank codes 99x, issuer numbers 9999xx, the
postcode 000000.
"""

import datetime
import random
from itertools import count

from stdnum import iban, luhn
from stdnum.cn import ric, uscc

_PHONES = 10**6
_PHONE_FACTOR = 3**13  # coprime to ten: multiplying by it permutes the numbers
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


class Identifiers:
    """Hands out identifiers, each once."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._shift = chance.randrange(_PHONES)
        self._phone, self._citizen, self._card, self._account, self._merchant, self._device, self._door = (
            count() for _ in range(7)
        )

    def phone(self) -> str:
        """A mobile number in E.164, +86 199 00…; at most a million of them."""
        return f"+8619900{(next(self._phone) * _PHONE_FACTOR + self._shift) % _PHONES:06d}"

    def national_id(self) -> str:
        """A number by GB 11643 of a division that does not exist; the holder is 18 to 75 years old."""
        born = datetime.date(1951, 1, 1) + datetime.timedelta(days=self._chance.randrange(57 * 365))
        number = next(self._citizen)
        body = f"99{number // 1000 % 10_000:04d}{born:%Y%m%d}{number % 1000:03d}"
        return body + ric.calc_check_digit(body + "0")

    def card(self, bank: int) -> str:
        """A card number of 16 digits by ISO/IEC 7812 under the issuer number 9999 and the bank's number."""
        body = f"9999{bank:02d}{next(self._card) * 7 % 10**9:09d}"
        return body + str(luhn.calc_check_digit(body))

    def iban(self, bank: int) -> str:
        """An IBAN under a bank code that no bank has. China has none; the country lends the form alone."""
        body = f"{990 + bank}{next(self._account) * 7919 % 10**16:016d}"
        return f"AE{iban.calc_check_digits('AE00' + body)}{body}"

    def merchant(self) -> str:
        """A unified social credit code (GB 32100) of a division that does not exist."""
        organisation = f"{next(self._merchant) * 1_234_567 % 10**8:08d}"
        weighted = sum(
            int(digit) * weight for digit, weight in zip(organisation, _ORGANISATION_WEIGHTS, strict=True)
        )
        check = {10: "X", 11: "0"}.get(11 - weighted % 11, str(11 - weighted % 11))
        code = f"91990100{organisation}{check}"
        return code + str(uscc.calc_check_digit(code))

    def device(self) -> str:
        """A UUID of version 8 (RFC 9562), which is for own schemes."""
        return f"5ce9a410-{next(self._device) % 65_536:04x}-8000-8000-{self._chance.getrandbits(48):012x}"

    def address(self, street: str) -> str:
        """A delivery address in that street, under a postcode that is no place's."""
        number = next(self._door)
        return f"CN|000000|{street} {number // 8 + 1}, door {number % 8 + 1}"
