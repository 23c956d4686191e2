"""Files, functions and arrays are read as they stand, or refused with their place and the rule they break."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kerasweep.data import IN_MEMORY, load_search, load_test
from kerasweep.data.idx import read_idx
from kerasweep.data.named import DATA_VARIABLE
from kerasweep.errors import DataError
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import Task


def spec(**options: Any) -> DataSpec:
    return DataSpec.model_validate(options)


HOUSES = """size,rooms,city,garden,code,price
50,2,Rome,True,007,1.5
70,,Oslo,False,007,2.5
,3,,True,8,3.5
90,4,"Bonn, Rhine",,8,4.5
60,2,Rome,False,9,2.25
65,2,Rome,True,9,2.75
75,3,Oslo,True,9,3.25
80,3,Oslo,False,8,4.25
"""


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_columns_are_numbers_truth_values_and_categories(tmp_path: Path) -> None:
    write(tmp_path, HOUSES)
    data = load_search(spec(csv="data.csv", target="price", categorical=["code"]), tmp_path)
    assert data.facts.columns == ("size", "rooms", "city", "garden", "code")
    assert (data.facts.task, data.facts.targets, data.source) == (Task.REGRESSION, ("price",), "data.csv")
    assert [number.name for number in data.preprocessing.numbers] == ["size", "rooms", "garden"]
    assert [category.name for category in data.preprocessing.categories] == ["city", "code"]
    test = load_test(spec(csv="data.csv", target="price", categorical=["code"]), tmp_path, data)
    parts = [data.train, data.validation, test]
    codes = {code for part in parts for code in part.x["code"]}  # type: ignore[index]
    assert codes == {"007", "8", "9"}
    prices = sorted(float(price) for part in parts for price in part.y[:, 0])
    assert prices == [1.5, 2.25, 2.5, 2.75, 3.25, 3.5, 4.25, 4.5]


def test_csv_features_select_and_order_columns(tmp_path: Path) -> None:
    write(tmp_path, HOUSES)
    data = load_search(spec(csv="data.csv", target="price", features=["garden", "size"]), tmp_path)
    assert data.facts.columns == ("garden", "size")


def test_csv_with_several_targets_and_a_byte_order_mark(tmp_path: Path) -> None:
    lines = ["\ufeffa, b, y1, y2", *(f"{i}, {i * i}, {i / 2 + 0.1}, {i}" for i in range(10))]
    write(tmp_path, "\n".join(lines))
    data = load_search(spec(csv="data.csv", target=["y1", "y2"]), tmp_path)
    assert (data.facts.outputs, data.facts.columns, data.facts.targets) == (2, ("a", "b"), ("y1", "y2"))


def test_csv_text_target_is_classes(tmp_path: Path) -> None:
    write(tmp_path, "a,y\n" + "".join(f"{i},{'yes' if i % 3 else 'no'}\n" for i in range(24)))
    facts = load_search(spec(csv="data.csv", target="y"), tmp_path).facts
    assert (facts.task, facts.classes) == (Task.BINARY, ("no", "yes"))


def test_csv_mixture_of_numbers_and_text_may_be_declared_categorical(tmp_path: Path) -> None:
    write(tmp_path, "a,y\n" + "".join(f"{i},{i}.5\n" for i in range(9)) + "?,1.5\n")
    data = load_search(spec(csv="data.csv", target="y", categorical=["a"]), tmp_path)
    assert data.preprocessing.categories[0].name == "a"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,y\n1,2.5\n3\n", {}, "data.csv:3: every line must have as many fields as the header, 2. Received: 1"),
        ("a,y\n1,2.5,3\n", {}, "data.csv:2: every line must have as many fields as the header, 2. Received: 3"),
        ("a,y\n", {}, "at least one row. Received: no row"),
        ("", {}, "at least one row. Received: no row"),
        (b"a,y\n\xff,1\n", {}, "the file must be text in UTF-8"),
        ('a,y\n"1,2\n', {}, "the file must be a CSV table"),
        ("a,yy\n1,2.5\n", {}, "target: a column must be one of a, yy. Did you mean 'yy'? Received: 'y'"),
        ("a,y\n1,2.5\n", {"features": ["b"]}, "features: a column must be one of a, y. Received: 'b'"),
        ("a,y\n1,2.5\n", {"features": ["a", "a"]}, "every column used must be there once. Received: 'a' twice"),
        ("a,a,y\n1,2,2.5\n", {}, "features: every column used must be there once. Received: 'a' twice"),
        (",a,y\n0,1,2.5\n", {}, "every column used must have a name (list the columns to use under features)"),
        ("a,y\n1,2.5\n", {"features": ["a", "y"]}, "a target must not be a feature too. Received: 'y' as both"),
        ("a,b,y\n1,2,3\n", {"features": ["a"], "categorical": ["b"]}, "categorical must name feature columns"),
        ("y\n1.5\n", {}, "there must be a feature column besides the target"),
        ("a,y,w\n1,2.5,1\n", {"weights": "v"}, "weights: a column must be one of a, y, w"),
        ("a,y,w\n1,2.5,1\n", {"weights": "w", "features": ["a", "w"]},
         "the column of weights must be neither a feature nor a target. Received: 'w' as both"),
        ("a,y,w\n1,2.5,1\n", {"weights": "y"}, "neither a feature nor a target. Received: 'y' as both"),
        ("y,w\n1.5,1\n", {"weights": "w"}, "there must be a feature column besides the target"),
        ("a,y,w\n1,2.5,1\n2,3.5,-1\n", {"weights": "w"},
         "data.csv:3: a weight must be a finite number of at least 0. Received: -1"),
        ("a,y,w\n1,2.5,1\n\n2,3.5,\n", {"weights": "w"},
         "data.csv:4: a weight must be a finite number of at least 0. Received: none"),
        ("a,y,w\n1,2.5,1\n2,3.5,inf\n", {"weights": "w"},
         "data.csv:3: a weight must be a finite number of at least 0. Received: inf"),
        ("a,y,w\n1,2.5,1\n2,3.5,heavy\n3,4.5,\n", {"weights": "w"},
         "data.csv:3: a weight must be a finite number of at least 0. Received: 'heavy'"),
        ("a,y,w\n1,2.5,0\n2,3.5,0\n", {"weights": "w"}, "at least one weight must be over 0. Received: 0 in every row"),
        ("a,y\n1,2.5\n2,\n", {}, "data.csv:3: the target 'y' must have a value in every row. Received: 1 rows without"),
        ("a,y\n1,2.5\ninf,3.5\n", {}, "column 'a': numbers must be finite in float32. Received: inf in row 1"),
        ("a,y\n1,1.5\n2,1.5\n3,1.5\n?,2\n", {}, "data.csv:5: a column must hold numbers or text, not both"),
        ("a,y\n1,1\n2,2\n3,3\n", {}, "a target of whole numbers may be classes or amounts"),
        ("a,y\n,1.5\n,2.5\n,3.5\n,4.5\n", {}, "must have a value in the training split. Received: none in 'a'"),
        ("a,y\n1,1.5\n2,2.5\n", {}, "each split needs a row, 3 in all. Received: 2"),
        ("a,y\n1,u\n2,v\n3,v\n4,v\n", {}, "every class must have at least two rows"),
    ],
)  # fmt: skip
def test_csv_that_breaks_a_rule(text: str | bytes, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        load_search(spec(csv="data.csv", **{"target": "y", **options}), tmp_path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_the_line_of_a_row_counts_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    write(tmp_path, 'a,y\n"x\nx",2.5\n\nz,\n')
    with pytest.raises(DataError, match=r"data.csv:5: the target 'y' must have"):
        load_search(spec(csv="data.csv", target="y"), tmp_path)


@pytest.mark.parametrize("key", ["csv", "npz"])
def test_a_file_that_is_not_there(key: str, tmp_path: Path) -> None:
    target = {"target": "y"} if key == "csv" else {}
    for name, received in (("none", "no such file"), (".", "a folder")):
        with pytest.raises(DataError, match=f"the data file must exist. Received: {received}"):
            load_search(spec(**{key: name}, **target), tmp_path)


X = np.arange(40.0).reshape(20, 2)
Y = np.linspace(0.1, 0.9, 20)


@pytest.mark.parametrize("key", ["x", "X"])
def test_npz_with_one_set_of_rows(key: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **{key: X, "y": Y})
    data = load_search(spec(npz="d.npz"), tmp_path)
    test = load_test(spec(npz="d.npz"), tmp_path, data)
    assert [len(part) for part in (data.train, data.validation, test)] == [11, 4, 5]
    assert data.facts.columns == ()


def test_npz_with_a_test_split_of_its_own(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X[:3] + 100, y_test=Y[:3])
    data = load_search(spec(npz="d.npz"), tmp_path)
    test = load_test(spec(npz="d.npz"), tmp_path, data)
    assert [len(part) for part in (data.train, data.validation, test)] == [15, 5, 3]
    np.testing.assert_array_equal(test.x, X[:3] + 100)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}], dtype=object), y=Y[:1])
    with pytest.raises(DataError, match="hold no Python objects"):
        load_search(spec(npz="d.npz"), tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "the archive must hold x (or X) and y, or x_train, y_train, x_test and y_test. Received: x"),
        ({"x": X[:0], "y": Y[:0]}, "at least one row and one feature. Received: shape (0, 2)"),
        ({"x": X, "y": Y[:5]}, "there must be one target a row. Received: 20 rows and 5 targets"),
        ({"x": np.where(X == 3, np.nan, X), "y": Y}, "missing values need named columns"),
        ({"x": np.where(X == 3, np.inf, X), "y": Y}, "numbers must be finite in float32. Received: inf in row 1"),
        ({"x": X.astype(str), "y": Y}, "text and missing values need named columns"),
        ({"x": X.astype(complex), "y": Y}, "rows in one array must be numbers"),
    ],
)
def test_npz_that_breaks_a_rule(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError) as caught:
        load_search(spec(npz="d.npz"), tmp_path)
    assert "d.npz" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("damage", ["text", "truncated", "flipped"])
def test_a_damaged_archive(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((200, 2)), y=np.linspace(0.1, 0.9, 200))
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"not an archive")
    elif damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[1000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"d.npz: (the file must be a NumPy archive|its arrays must be whole)"):
        load_search(spec(npz="d.npz"), tmp_path)


def test_preprocess_none_passes_missing_values_of_an_array_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.where(X == 3, np.nan, X), y=Y)
    assert load_search(spec(npz="d.npz", preprocess="none"), tmp_path).preprocessing.feature_shape == (2,)


FUNCTIONS = """
import numpy as np
import pandas as pd
x, y = np.arange(40.0).reshape(20, 2), np.linspace(0.1, 0.9, 20)
def pair(): return x, y
def test_split(): return (x, y), (x[:4], y[:4])
def lists(): return [list(row) for row in x], list(y)
def columns(): return {"a": x[:, 0], "t": ["u", None] * 10}, y
def frame(): return pd.DataFrame({"a": x[:, 0], "t": ["u", None] * 10}), pd.Series(y, name="price")
def vector(): return x[:, 0], y
def raising(): raise KeyError("oops")
def weighted(): return x, y, list(range(20))
def weighted_split(): return (x, y, y), (x[:4], y[:4])
def weighted_test(): return (x, y, y), (x[:4], y[:4], y[:4])
def few_weights(): return x, y, [1, 2, 3]
def four(): return x, y, y, y
def nothing(): return None
def ragged(): return [[1.0], [1.0, 2.0]], [0.5, 1.5]
def lengths(): return {"a": [1, 2], "b": [1]}, [0.5, 1.5]
def mixed(): return {"a": [1, "x"]}, [0.5, 1.5]
def dates(): return {"a": np.array(["2020-01-01"] * 20, "M8[D]")}, y
def number_names(): return {0: x[:, 0]}, y
def no_columns(): return {}, y
def other_columns(): return ({"a": x[:, 0]}, y), ({"b": x[:, 0]}, y)
def other_shape(): return (x, y), (x[:, :1], y)
value = 3
"""


@pytest.mark.parametrize(
    "name", ["pair", "test_split", "lists", "columns", "frame", "vector", "weighted", "weighted_split"]
)
def test_a_function_returns_the_data(name: str, tmp_path: Path) -> None:
    write(tmp_path, FUNCTIONS, "houses.py")
    chosen = spec(python=f"houses:{name}")
    data = load_search(chosen, tmp_path)
    test = load_test(chosen, tmp_path, data)
    sizes = [len(part) for part in (data.train, data.validation, test)]
    assert sizes == ([15, 5, 4] if "split" in name else [11, 4, 5])
    assert data.facts.targets == (("price",) if name == "frame" else ())
    assert data.facts.columns == (("a", "t") if name in ("columns", "frame") else ())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", "houses:raising: the function must return the data. Received: KeyError: 'oops'"),
        ("pear", "the function must be one of"),
        ("value", "the function must be one of"),
        ("four", "data must be (x, y), (x, y, weights) or ((x_train, y_train), (x_test, y_test)), with weights after "
         "y_train if any. Received: tuple of 4"),
        ("weighted_test", "houses:weighted_test: the test split must be (x_test, y_test), since every test row counts "
         "once. Received: three arrays"),
        ("few_weights", "houses:few_weights: there must be one weight a row, 20 in all. Received: shape (3,)"),
        ("nothing", "Received: NoneType"),
        ("ragged", "the rows must all have the same shape"),
        ("lengths", "all columns must have the same length. Received: {'a': 2, 'b': 1}"),
        ("mixed", "column 'a': a column must hold numbers, truth values or text, one kind throughout. "
         "Received: number, str"),
        ("dates", "column 'a': a column must hold numbers, truth values or text (turn dates into numbers)"),
        ("number_names", "every column must have a name that is text. Received: 0"),
        ("no_columns", "there must be at least one feature column. Received: none"),
    ],
)  # fmt: skip
def test_a_function_that_returns_something_else(name: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, FUNCTIONS, "houses.py")
    with pytest.raises(DataError) as caught:
        load_search(spec(python=f"houses:{name}"), tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["other_columns", "other_shape"])
def test_a_test_split_unlike_the_training_rows(name: str, tmp_path: Path) -> None:
    write(tmp_path, FUNCTIONS, "houses.py")
    chosen = spec(python=f"houses:{name}")
    with pytest.raises(DataError, match=r"test split: the (columns must be|rows must be like) the training data's"):
        load_test(chosen, tmp_path, load_search(chosen, tmp_path))


def test_modules_of_the_same_name_in_two_projects_are_two_modules(tmp_path: Path) -> None:
    for project, factor in (("one", 1), ("two", 2)):
        (tmp_path / project).mkdir()
        source = f"import numpy as np\ndef load(): return np.eye(9), np.arange(9) * {factor} + 0.5\n"
        write(tmp_path / project, source, "twins.py")
    highest = [
        load_search(spec(python="twins:load"), tmp_path / project).train.y.max() for project in ("one", "two", "one")
    ]
    assert highest[0] == highest[2] != highest[1]


def test_a_module_that_cannot_be_imported(tmp_path: Path) -> None:
    write(tmp_path, "1 / 0", "broken.py")
    for name, received in (("broken", "ZeroDivisionError"), ("nowhere_to_be_found", "ModuleNotFoundError")):
        with pytest.raises(DataError, match=rf"the module must be importable from .* Received: {received}"):
            load_search(spec(python=f"{name}:load"), tmp_path)


def test_arrays_from_python(tmp_path: Path) -> None:
    chosen = spec(python=IN_MEMORY)
    data = load_search(chosen, tmp_path, memory=(X, Y))
    assert data.source == "arrays in memory"
    assert len(load_test(chosen, tmp_path, data, memory=(X, Y))) == 5
    with pytest.raises(DataError, match="pass them again"):
        load_search(chosen, tmp_path)
    with pytest.raises(DataError, match=r"the data must be what the search saw, fingerprint [0-9a-f]{12}…"):
        load_test(chosen, tmp_path, data, memory=(X + 1, Y))


def idx_bytes(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)


def test_idx_files_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(idx_bytes(IMAGES)), "i.gz")
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "the file must be gzipped IDX data"),
        (gzip.compress(idx_bytes(IMAGES))[:-20], "the file must be gzipped IDX data"),
        (gzip.compress(b""), "must begin with 00000803. Received: "),
        (gzip.compress(idx_bytes(IMAGES[0])), "must begin with 00000803. Received: 00000802"),
        (gzip.compress(idx_bytes(IMAGES, kind=13)), "must begin with 00000803. Received: 00000d03"),
        (gzip.compress(idx_bytes(IMAGES)[:-1]), "shape (2, 28, 28) must have 1584 bytes. Received: 1583"),
        (gzip.compress(idx_bytes(IMAGES) + b"x"), "must have 1584 bytes. Received: 1585"),
    ],
)
def test_damaged_idx_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content, "i.gz")
    with pytest.raises(DataError) as caught:
        read_idx(path, 3)
    assert message in str(caught.value)


def image_folder(folder: Path, *, rows: int = 6000) -> None:
    """An image set in small, whose test files are no IDX data at all: whoever opens them fails."""
    folder.mkdir(parents=True)
    images = np.zeros((rows, 28, 28), np.uint8)
    labels = (np.arange(rows) % 10).astype(np.uint8)
    for part, content in (("images-idx3", images), ("labels-idx1", labels)):
        write(folder, gzip.compress(idx_bytes(content), 1), f"train-{part}-ubyte.gz")
        write(folder, "not to be opened", f"t10k-{part}-ubyte.gz")


@pytest.mark.parametrize("place", ["data/fashion_mnist", "data/fashion-mnist", "cache/datasets/fashion-mnist"])
def test_image_sets_are_found_and_the_search_does_not_open_the_test_files(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder(tmp_path / place)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    data = load_search(spec(name="fashion_mnist"), tmp_path)
    assert (len(data.train), len(data.validation), data.facts.classes[9]) == (1000, 5000, "Ankle boot")
    assert np.bincount(data.train.y).tolist() == [100] * 10
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: the file must be gzipped IDX data"):
        load_test(spec(name="fashion_mnist"), tmp_path, data)


def test_mnist_is_found_as_an_archive_with_a_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(6000) % 10
    np.savez(
        tmp_path / "mnist.npz",
        x_train=np.zeros((6000, 28, 28), np.uint8), y_train=labels, x_test=IMAGES, y_test=labels[:2],
    )  # fmt: skip
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    data = load_search(spec(name="mnist"), tmp_path)
    np.testing.assert_array_equal(load_test(spec(name="mnist"), tmp_path, data).x, IMAGES)
    with pytest.raises(DataError, match="these data have their own test split"):
        load_search(spec(name="mnist", test=0.1), tmp_path)


def test_an_image_set_that_is_nowhere_lists_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    image_folder(tmp_path / "data" / "fashion-mnist", rows=1)
    (tmp_path / "data" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError) as caught:
        load_search(spec(name="fashion_mnist"), tmp_path)
    message = str(caught.value)
    for expected in (
        f"{tmp_path}/data/fashion-mnist: the folder lacks t10k-labels-idx1-ubyte.gz",
        f"{tmp_path}/cache/datasets/fashion-mnist: no such folder",
        "/usr/share/datasets/fashion-mnist: ",
        "/usr/share/datasets/fashion_mnist: ",
        "URL fetch failure",
        "Set KERASWEEP_DATA to a folder that holds it.",
    ):
        assert expected in message


def test_pandas_tables_with_extension_types(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "whole": pd.Series([1, None] * 10, dtype="Int64"),
            "truth": pd.Series([True, None] * 10, dtype="boolean"),
            "text": pd.Series(["u", None] * 10, dtype="string"),
            "category": pd.Series([1, 2] * 10, dtype="category"),
        }
    )
    data = load_search(spec(python=IN_MEMORY), tmp_path, memory=(table, Y))
    assert [number.name for number in data.preprocessing.numbers] == ["whole", "truth"]
    assert [sorted(category.levels) for category in data.preprocessing.categories] == [["u"], ["1", "2"]]
