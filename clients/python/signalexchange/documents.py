"""Signed and stored JSON documents: frozen models with one spelling each.

Invariants: unknown and missing fields are refused; a document that parses prints as the very text it was read
from (2-space indent, sorted keys, trailing newline), so that duplicate keys, other number forms and hidden
white space never pass; what is wrong is named by its path in the document.
"""

import base64
import json
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from signalexchange.errors import MalformedError
from signalexchange.note import decode_base64


class Record(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Record):
    """A whole document."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a document's text; raises MalformedError naming the first field that is wrong."""
        try:
            document = cls.model_validate_json(text.encode())
        except UnicodeEncodeError:
            raise MalformedError(f"{cls.__name__}: not UTF-8") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise MalformedError(f"{cls.__name__}{'.' if path else ''}{path}: {first['msg']}") from None
        if document.text() != text:
            raise MalformedError(f"{cls.__name__}: not in canonical form")
        return document

    def text(self) -> str:
        """The document's only spelling."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _from_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return decode_base64(value, "value")
    except MalformedError as error:
        raise ValueError(str(error)) from None


Base64 = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str, when_used="json"),
]
"""Bytes, in the document as canonical standard base64."""

UnixTime = Annotated[int, Field(strict=True, ge=0, le=2**53)]
"""Unix seconds."""

Identifier = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""Name of a party, group, key or custodian inside a document."""

Sha256Hex = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest as lowercase hex."""

SpiffeId = Annotated[
    str, Field(strict=True, max_length=2048, pattern=r"^spiffe://[a-z0-9.-]+/[A-Za-z0-9._/-]+$")
]
"""A SPIFFE id as it stands in the URI SAN of a certificate."""
