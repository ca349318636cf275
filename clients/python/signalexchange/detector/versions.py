"""The model versions a member keeps in a folder: the one in force and those before it, to go back to.

Invariants: the list says which files count, and it is replaced whole: a crash leaves the versions before or
those after; a file is removed only when the list no longer names it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from signalexchange.detector.model import FILE_NAME, Model, read_model, replace_private, write_model
from signalexchange.documents import Document
from signalexchange.errors import ConfigError, MalformedError

KEPT: Final = 5
"""Versions that are kept, the one in force among them."""
LIST: Final = "versions.json"


class VersionList(Document):
    """Names of the model files, oldest first; the last is in force."""

    format: Literal[1]
    models: Annotated[
        list[Annotated[str, Field(strict=True, pattern=f"^{FILE_NAME.pattern}$")]], Field(max_length=KEPT)
    ]


def write_versions(folder: Path, models: Sequence[Model]) -> None:
    """Make a folder hold these versions, oldest first, the last in force. Raises ConfigError.

    `Learner.versions` has them; other model files in the folder are removed.
    """
    names = [model.name for model in models]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for model in models:
            if not (folder / model.name).exists():
                write_model(model, folder)
        replace_private(folder / LIST, VersionList(format=1, models=names).text().encode())
        for path in folder.iterdir():
            if FILE_NAME.fullmatch(path.name) and path.name not in names:
                path.unlink()
    except OSError as error:
        raise ConfigError(f"{folder}: can't keep the model versions: {error.strerror}") from None


def read_versions(folder: Path, features: Sequence[str]) -> tuple[Model, ...]:
    """The versions of a folder, oldest first, the last in force; none where nothing was written yet.

    Raises what `read_model` raises, and MalformedError for a list that is none.
    """
    path = folder / LIST
    try:
        listed = VersionList.parse(path.read_bytes().decode())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MalformedError(f"{path}: not UTF-8") from None
    except MalformedError as error:
        raise MalformedError(f"{path}: {error}") from None
    return tuple(read_model(folder / name, features) for name in listed.models)
