"""CSV files: a header line, then one row a line."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.data.columns import as_text, canonical_columns, plain_values
from kerasweep.data.rows import Array, Features
from kerasweep.data.sources import Raw, resolve
from kerasweep.data.targets import canonical_target
from kerasweep.data.weights import canonical_weights
from kerasweep.errors import DataError, one_of
from kerasweep.spec.pipeline import DataSpec

if TYPE_CHECKING:
    import pandas as pd


def read_csv(spec: DataSpec, directory: Path) -> Raw:
    """A CSV file, with commas and a header line, in UTF-8.

    Empty fields, ``NA``, ``NaN``, ``null`` and the like are missing values. Columns of numbers and of ``True`` and
    ``False`` are such, all others are categories.

    Raises:
        DataError: the file cannot be read, lines differ in their number of fields, a column named in the spec is not
            there or twice, a target or weight is missing, a weight is below 0, a number is infinite, or a column mixes
            numbers with a little text.
    """
    import pandas as pd

    path = resolve(directory, Path(str(spec.csv)))
    header = _checked_header(path)
    targets = spec.targets
    weights = [spec.weights] if spec.weights is not None else []
    features = _features(path, header, targets, weights, spec)
    try:
        frame = pd.read_csv(
            path,
            usecols=[*features, *targets, *weights],
            dtype=dict.fromkeys(spec.categorical, str),
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
            encoding="utf-8-sig",
        )
    except (ValueError, OSError) as error:  # pandas' own ParserError is a ValueError
        raise DataError(f"{path}: the file must be a CSV table. Received: {error}") from error
    columns = {name: _feature(path, name, frame[name], name in spec.categorical) for name in features}
    x, renamed = canonical_columns(str(path), columns)
    return Raw(
        x,
        _targets(path, frame, spec),
        str(path),
        targets=tuple(targets),
        renamed=renamed,
        weights=_weights(path, frame[spec.weights]) if spec.weights is not None else None,
    )


def _checked_header(path: Path) -> list[str]:
    """The header, once every line has as many fields: pandas fills up short lines and cuts long ones without a word."""
    header: list[str] = []
    rows = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            for fields in reader:
                if not fields:
                    continue
                if not header:
                    header = fields
                    continue
                rows += 1
                if len(fields) != len(header):
                    raise DataError(
                        f"{path}:{reader.line_num}: every line must have as many fields as the header, {len(header)}. "
                        f"Received: {len(fields)}"
                    )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the file must be text in UTF-8. Received: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: the file must be a CSV table. Received: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: the file must be readable. Received: {error}") from error
    if not rows:
        raise DataError(f"{path}: the file must have a header line and at least one row. Received: no row")
    return header


def _features(path: Path, header: list[str], targets: list[str], weights: list[str], spec: DataSpec) -> list[str]:
    """The feature columns, once every column that is used has a name of its own."""
    others = [*targets, *weights]
    features = [name for name in header if name not in others] if spec.features is None else list(spec.features)
    named = {"target": targets, "weights": weights, "features": features, "categorical": spec.categorical}
    for key, names in named.items():
        for name in names:
            if name not in header:
                raise DataError(f"{path}: {one_of(f'{key}: a column', name, header)}")
            if not name.strip():
                raise DataError(
                    f"{path}: every column used must have a name (list the columns to use under features). "
                    f"Received: none for column {header.index(name) + 1}"
                )
            if header.count(name) > 1 or names.count(name) > 1:
                raise DataError(f"{path}: {key}: every column used must be there once. Received: {name!r} twice")
    both = [name for name in targets if name in features]
    if both:
        raise DataError(f"{path}: a target must not be a feature too. Received: {both[0]!r} as both")
    twofold = [name for name in weights if name in features or name in targets]
    if twofold:
        raise DataError(
            f"{path}: the column of weights must be neither a feature nor a target. Received: {twofold[0]!r} as both"
        )
    idle = [name for name in spec.categorical if name not in features]
    if idle:
        raise DataError(f"{path}: categorical must name feature columns. Received: {idle[0]!r}, which is none")
    if not features:
        raise DataError(f"{path}: there must be a feature column besides the target. Received: {', '.join(header)}")
    return features


def _feature(path: Path, name: str, series: pd.Series, forced: bool) -> Array | pd.Series:
    import pandas as pd

    if forced:
        return as_text(plain_values(series))
    if series.dtype.kind in "biuf" or not pd.api.types.is_string_dtype(series.dtype):
        return series
    present = series.dropna()
    numeric = pd.to_numeric(present, errors="coerce")
    words = present[numeric.isna()]
    if len(words) and len(words) < len(present) / 2:
        share = f"{len(words)} of {len(present)}"
        raise DataError(
            f"{_place(path, words.index[0])}: a column must hold numbers or text, not both (list it under categorical "
            f"if its numbers are names). Received: {share} values of {name!r} that are no number, "
            f"such as {words.iloc[0]!r}"
        )
    return series


def _targets(path: Path, frame: pd.DataFrame, spec: DataSpec) -> Features:
    """The target, or that of each output which has columns of its own."""
    if not isinstance(spec.outputs, Mapping):
        return _target(path, frame[spec.targets])
    own = {name: [given] if isinstance(given, str) else given for name, given in spec.outputs.items()}
    return {name: _target(path, frame[columns]) for name, columns in own.items()}


def _target(path: Path, frame: pd.DataFrame) -> Array:
    for name in frame.columns:
        missing = np.flatnonzero(frame[name].isna())
        if len(missing):
            raise DataError(
                f"{_place(path, missing[0])}: the target {name!r} must have a value in every row. "
                f"Received: {len(missing)} rows without one"
            )
    if len(frame.columns) == 1:
        return canonical_target(str(path), frame.iloc[:, 0])
    return canonical_target(str(path), frame.to_numpy())


def _weights(path: Path, series: pd.Series) -> Array:
    import pandas as pd

    values: Any = series
    if pd.api.types.is_string_dtype(series.dtype):  # text somewhere; the numbers among it must not be blamed
        numbers = pd.to_numeric(series, errors="coerce")
        values = [text if number != number else number for text, number in zip(series, numbers, strict=True)]
        values = np.array(values, dtype=object)
    return canonical_weights(str(path), values, len(series), lambda row: _place(path, row))


def _place(path: Path, row: int) -> str:
    """``file:line`` of a row, counted from 0; a quoted field may span lines, so the file is read again."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True)
        lines = (reader.line_num for fields in reader if fields)
        for position, line in enumerate(lines, start=-1):
            if position == row:
                return f"{path}:{line}"
    return str(path)
