"""A custodian's secret key shares, in files of its own.

Invariants: a share file is created with mode 0600, never overwritten, and refused when others may read it; a
share is used only under the key it was dealt for, which `matching` checks against the manifest's commitments.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from signalexchange.credentials import read_private
from signalexchange.documents import Document, Identifier, Record
from signalexchange.errors import ConfigError, ExchangeError, MalformedError, VerificationError
from signalexchange.manifest import Epoch, Generation, Hex32, KeyManifest, TokenKey
from signalexchange.roster import TypeName
from signalexchange.threshold import verify_share


class Share(Record):
    """The custodian's share of one key: a scalar in [1, L), little-endian."""

    type: TypeName
    epoch: Epoch
    generation: Generation
    share: Annotated[Hex32, Field(repr=False)]


class ShareFile(Document):
    """All shares that one custodian got in one ceremony."""

    version: Literal[1]
    origin: Annotated[str, Field(strict=True, min_length=1, max_length=255)]
    custodian: Identifier
    index: Annotated[int, Field(strict=True, ge=1, le=255)]
    shares: tuple[Share, ...]

    def write(self, path: Path) -> None:
        """Write to a new file of mode 0600. Raises ConfigError where it exists or can't be written."""
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.text())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"{path}: can't write the key shares: {error.strerror}") from None


def read_shares(path: Path) -> ShareFile:
    """Read a share file. Raises ConfigError when it is unreadable, open to others or malformed."""
    try:
        return ShareFile.parse(read_private(path, "key shares").decode())
    except (UnicodeDecodeError, MalformedError) as error:
        raise ConfigError(f"{path}: not a share file: {error}") from None


def matching(files: Sequence[ShareFile], manifest: KeyManifest) -> dict[tuple[int, int], bytes]:
    """The custodian's share of every key of the manifest, by (IdentifierType, epoch), each verified.

    Raises VerificationError when a share lacks, does not match its commitments, or the files are not one
    custodian's.
    """
    if len({(file.custodian, file.index) for file in files}) > 1:
        raise VerificationError("the share files are not of one custodian")
    if any(file.origin != manifest.origin for file in files):
        raise VerificationError("a share file is of another origin than the manifest")
    held = {
        (share.type, share.epoch, share.generation): (file.index, share.share)
        for file in files
        for share in file.shares
    }
    return {(key.type_value, key.epoch): _verified(key, held) for key in manifest.keys}


def _verified(key: TokenKey, held: dict[tuple[str, int, int], tuple[int, bytes]]) -> bytes:
    what = f"{key.type}, epoch {key.epoch}, generation {key.generation}"
    found = held.get((key.type, key.epoch, key.generation))
    if found is None:
        raise VerificationError(f"{what}: no share of this key")
    index, share = found
    try:
        verify_share(index, share, key.commitments)
    except ExchangeError as error:
        raise VerificationError(f"{what}: {error}") from None
    return share
