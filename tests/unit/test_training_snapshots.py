"""Snapshots on disk: what is written comes back, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kerasweep.records import Copy, Decision
from kerasweep.training import Snapshot, snapshots

ARRAYS = hnp.arrays(
    st.sampled_from(["float32", "float64", "int32", "int64", "uint32", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
STATES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(arrays=st.lists(ARRAYS, max_size=5), state=STATES)
def test_a_snapshot_comes_back_bit_by_bit(tmp_path_factory: pytest.TempPathFactory, arrays: list, state: dict) -> None:
    folder = tmp_path_factory.mktemp("snapshot")
    named = {f"variable_{i}": array for i, array in enumerate(arrays)}
    snapshots.save(Snapshot(named, state), folder)
    loaded = snapshots.load(folder)
    assert loaded.state == state
    assert list(loaded.arrays) == list(named)
    for name, array in named.items():
        assert loaded.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.arrays[name], array)


def test_writing_again_replaces_and_leaves_one_file(tmp_path: Path) -> None:
    snapshots.save(Snapshot({"a": np.zeros(3)}, {"epoch": 1}), tmp_path)
    snapshots.save(Snapshot({"b": np.ones(2)}, {"epoch": 2}), tmp_path)
    assert snapshots.load(tmp_path).state == {"epoch": 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_fails_while_being_written_leaves_the_last_one(tmp_path: Path) -> None:
    snapshots.save(Snapshot({"a": np.zeros(3)}, {"epoch": 1}), tmp_path)
    with pytest.raises(TypeError):
        snapshots.save(Snapshot({"a": np.ones(3)}, {"epoch": object()}), tmp_path)
    loaded = snapshots.load(tmp_path)
    assert loaded.state == {"epoch": 1}
    np.testing.assert_array_equal(loaded.arrays["a"], np.zeros(3))


def test_an_empty_folder_holds_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        snapshots.load(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
def test_a_cut_off_file_is_an_error(tmp_path: Path, kept: float) -> None:
    snapshots.save(Snapshot({"a": np.arange(500.0)}, {"epoch": 1}), tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match="damaged"):
        snapshots.load(tmp_path)


def test_flipped_bytes_are_an_error(tmp_path: Path) -> None:
    snapshots.save(Snapshot({"a": np.arange(500.0)}, {"epoch": 1}), tmp_path)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = b"\xff\x00\xff\x00"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        snapshots.load(tmp_path)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    snapshots.save(Snapshot({"a": np.zeros(1)}, {}), tmp_path)
    (file,) = tmp_path.iterdir()
    with file.open("wb") as stream:
        np.savez(stream, state=np.array("{}"), a=np.array([{"run": "me"}], object))
    with pytest.raises(ValueError, match="damaged"):
        snapshots.load(tmp_path)


def test_best_weights_keep_their_order_beyond_ten() -> None:
    arrays = {f"best_4_{i}": np.full(2, i) for i in (11, 3, 0, 10, 1, 2, 4, 5, 6, 7, 8, 9)} | {
        "variable_0": np.zeros(1)
    }
    assert [int(weight[0]) for weight in snapshots.best_weights(Snapshot(arrays, {}), 4)] == list(range(12))
    assert snapshots.best_weights(Snapshot({"variable_0": np.zeros(1)}, {}), 4) == ()


def test_the_decision_travels_with_the_state(tmp_path: Path) -> None:
    decision = Decision(frozenset({3, 1}), {7: Copy(2, {"learning_rate": 0.5, "n": 3})})
    snapshots.save(Snapshot({"a": np.arange(3)}, {"epoch": 4}, decision), tmp_path)
    loaded = snapshots.load(tmp_path)
    assert loaded.decision == decision
    assert loaded.state == {"epoch": 4}
    assert list(loaded.arrays) == ["a"]
