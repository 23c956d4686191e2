"""What is written into MLflow's narrow names and texts reads back unchanged."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from kerasweep.tracking import layout

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


@settings(deadline=None)  # the machine may be busy
@given(st.text(min_size=1, max_size=30).filter(lambda name: name.isprintable()))
def test_a_metrics_name_is_legal_in_mlflow_and_reads_back(name: str) -> None:
    quoted = layout.quote(name)
    _validate_metric_name(quoted)
    assert layout.unquote(quoted) == name
    assert quoted not in layout.OWN_METRICS


def test_usual_names_stay_readable() -> None:
    assert [layout.quote(name) for name in ("val_loss", "top 5", "f1.macro")] == ["val_loss", "top 5", "f1.macro"]


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
    )
)
def test_parameters_keep_their_values_types_and_order(params: dict[str, bool | int | float | str]) -> None:
    texts, types = layout.encode_params(params)
    stored = dict(sorted(texts.items()))
    assert repr(layout.decode_params(stored, types)) == repr(params)


def test_numpy_parameters_become_python_values() -> None:
    texts, types = layout.encode_params({"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True)})  # type: ignore[dict-item]
    assert layout.decode_params(texts, types) == {"a": 3, "b": 0.5, "c": True}


@settings(deadline=None)
@given(st.text(max_size=20), JSON, JSON)
def test_a_summary_reads_back(key: str, short: object, part: object) -> None:
    long = [part, "x" * 20_000]
    tags = layout.summary_tags(key, long)
    assert len(tags) >= 3
    assert len({layout.whole_tag(tag) for tag in tags}) == 1
    assert max(map(len, tags.values())) <= layout.TAG_CHARACTERS
    tags |= layout.summary_tags(f"{key}2", short)
    assert layout.read_summary(tags) == {key: long, f"{key}2": short}


def test_the_numbers_of_a_summary_are_metrics() -> None:
    summary = {"test": {"mse": 0.3, "n": np.int64(2)}, "seconds": 1.5, "note": "x", "done": True, "list": [1]}
    assert layout.numbers(summary) == {"test/mse": 0.3, "test/n": 2.0, ":73:econds": 1.5}


@settings(deadline=None)
@given(TEXT)
def test_text_becomes_what_any_database_takes(text: str) -> None:
    cleaned = layout.clean(text + "\x00\ud800")
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert len(layout.clean("x" * 10_000)) == layout.TAG_CHARACTERS


def test_infinities_come_back() -> None:
    assert layout.decode_metric(1.7976931348623157e308) == math.inf
    assert layout.decode_metric(-1.7976931348623157e308) == -math.inf
    assert math.isnan(layout.decode_metric(math.nan))
    assert layout.decode_metric(0.1) == 0.1
    assert json.loads(layout.encode_params({"x": 1e400})[1]) == {"x": "float"}
