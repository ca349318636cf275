"""A version of the detector's model: boosted trees, their calibration, what made them and what judged them.

Invariants: a model is its text, and its name holds the SHA-256 of that text; a file is taken whole or refused
whole, before LightGBM sees it; it is JSON, so that reading one runs nothing; the same rows give the same
score, on one thread. Feature names, counts and distributions are a member's own: a file has mode 0600.

A score is the trees' sum in log-odds. What it means as a probability is Platt's scaling of it (Platt 1999,
"Probabilistic Outputs for Support Vector Machines"), fitted on rows that the trees never saw: with as few
frauds as a member has, two parameters are surer than isotonic steps (Niculescu-Mizil and Caruana 2005,
"Predicting Good Probabilities With Supervised Learning"), and no two scores become one.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import lightgbm
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from signalexchange.detector.trees import check_trees
from signalexchange.documents import Document, Record, UnixTime
from signalexchange.errors import ConfigError, ExchangeError, MalformedError, VerificationError

FORMAT: Final = 1
MAX_BYTES: Final = 64_000_000
"""Of a model file; one of 300 trees with 31 leaves has about 1.1 million."""
MAX_FEATURES: Final = 1_000
FILE_NAME: Final = re.compile(r"model-([0-9]{6})-([0-9a-f]{64})\.json")

Floats = NDArray[np.float32]
FEATURE_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
MAX_NAME: Final = 100
FeatureName = Annotated[str, Field(strict=True, pattern=f"^{FEATURE_NAME.pattern}$", max_length=MAX_NAME)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]


class Period(Record):
    """Transactions of the times from `start` up to and without `end`: how many, and how many were frauds."""

    start: UnixTime
    end: UnixTime
    rows: Count
    frauds: Count


class Bins(Record):
    """How a number was distributed: rows up to each edge, those above the last, and those not known (NaN)."""

    edges: Annotated[list[Finite], Field(max_length=100)]
    rows: list[Count]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.rows) != len(self.edges) + 2:
            raise ValueError("one count for each edge, one above and one for what is not known")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        return self


class Calibration(Record):
    """Probability of fraud = 1 ÷ (1 + exp(−(slope × score + offset))); the slope is above 0."""

    slope: Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]
    offset: Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]


class Judgement(Record):
    """Average precision on the held-out rows: of this version, and of what decided before it."""

    average_precision: Share
    before: Share


class ModelDocument(Document):
    """What a model file holds. `rules`: version of the rule file in force when it was made."""

    format: Literal[1]
    version: Annotated[int, Field(strict=True, ge=1, le=999_999)]
    made_at: UnixTime
    rules: Annotated[int, Field(strict=True, ge=0, le=2**31)]
    features: Annotated[list[FeatureName], Field(min_length=1, max_length=MAX_FEATURES)]
    trained: Period
    calibrated: Period
    held_out: Period
    judgement: Judgement
    calibration: Calibration
    score_bins: Bins
    feature_bins: list[Bins]
    trees: str

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(set(self.features)) != len(self.features):
            raise ValueError("a feature is named twice")
        if len(self.feature_bins) != len(self.features):
            raise ValueError("one distribution for each feature")
        return self


@dataclass(frozen=True)
class Model:
    """A version in use, made by `of` or `parse`; used from any thread."""

    document: ModelDocument
    digest: str
    _booster: lightgbm.Booster = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: ModelDocument) -> Self:
        """The model a document describes. Raises MalformedError where its trees are not of its features."""
        check_trees(document.trees, document.features)
        try:
            booster = lightgbm.Booster(model_str=document.trees)
        except lightgbm.basic.LightGBMError:
            raise MalformedError("trees: refused by LightGBM") from None
        return cls(document, hashlib.sha256(document.text().encode()).hexdigest(), booster)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a model's text. Raises MalformedError."""
        if len(data) > MAX_BYTES:
            raise MalformedError(f"model: more than {MAX_BYTES} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise MalformedError("model: not UTF-8") from None
        return cls.of(ModelDocument.parse(text))

    @property
    def version(self) -> int:
        """Counts up from 1 at each member."""
        return self.document.version

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what a row holds, in order."""
        return tuple(self.document.features)

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"model-{self.version:06d}-{self.digest}.json"

    def scores(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Log-odds of rows of features, one number a row. NaN is a feature that is not known.

        A row alone takes about 0.2 ms with 300 trees, one of many 0.05. Raises MalformedError.
        """
        return self._predict(rows, raw_score=True).reshape(-1)

    def probabilities(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities of fraud, 0 to 1, one a row. Raises MalformedError."""
        calibration = self.document.calibration
        odds = calibration.slope * self.scores(rows) + calibration.offset
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))), dtype=np.float64)

    def contributions(self, rows: ArrayLike) -> NDArray[np.float64]:
        """What each feature adds to the score of each row, and in the last column what every row starts with.

        A row's numbers add up to its score. Exact TreeSHAP (Lundberg and others 2020, "From local
        explanations to global understanding with explainable AI for trees"): about 5 ms a row with 300
        trees, so for decisions that are looked at, not for each. Raises MalformedError.
        """
        return self._predict(rows, pred_contrib=True).reshape(-1, len(self.features) + 1)

    def _predict(self, rows: ArrayLike, **what: bool) -> NDArray[np.float64]:
        given = checked_rows(rows, len(self.document.features))
        if not len(given):
            return np.empty(0)
        return np.asarray(self._booster.predict(given, num_threads=1, **what), dtype=np.float64)


def checked_rows(rows: ArrayLike, width: int) -> Floats:
    """Rows of `width` features as a model reads them, in single precision. Raises MalformedError.

    Numbers are finite and within single precision, or NaN.
    """
    try:
        with np.errstate(over="ignore"):
            given = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise MalformedError("features must be numbers, the same number of them in each row") from None
    if given.ndim != 2 or given.shape[1] != width:
        raise MalformedError(f"a row must have {width} features")
    if np.isinf(given).any():
        raise MalformedError("a feature that is beyond single precision")
    return given


def write_model(model: Model, folder: Path) -> Path:
    """Write a model into a folder, whole or not at all, mode 0600. Raises ConfigError where it can't."""
    path = folder / model.name
    replace_private(path, model.document.text().encode())
    return path


def read_model(path: Path, features: Sequence[str]) -> Model:
    """Read a model file that must be of these features, in this order.

    Raises ConfigError where it can't be read, MalformedError where it is no model file or one of other
    features, VerificationError where it is not the one its name says.
    """
    named = FILE_NAME.fullmatch(path.name)
    if named is None:
        raise MalformedError(f"{path}: not the name of a model file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: can't read the model: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != named[2]:
        raise VerificationError(f"{path}: not the content that the file's name promises")
    try:
        model = Model.parse(data)
    except ExchangeError as error:
        raise MalformedError(f"{path}: {error}") from None
    if model.version != int(named[1]):
        raise VerificationError(f"{path}: not the version that the file's name promises")
    if model.features != tuple(features):
        raise MalformedError(f"{path}: made from other features")
    return model


def replace_private(path: Path, data: bytes) -> None:
    """Put a file of mode 0600 in place, whole or not at all, though the power fails. Raises ConfigError."""
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise ConfigError(f"{path}: can't be written: {error.strerror}") from None
