"""Loading pipelines and spaces: places of problems, overrides, mappings, and nothing but SpecError ever."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML, YAMLError

import kerasweep.spec
from kerasweep.errors import SpecError
from kerasweep.records import Direction, Objective
from kerasweep.spec import Float, LoadedPipeline, load_pipeline, load_space, pipeline_from_mapping
from kerasweep.spec.document import MAX_BYTES, parse
from kerasweep.spec.schedulers import AshaScheduler
from kerasweep.spec.searchers import RandomSearch, TpeSearch

GOOD = Path(__file__).parents[1] / "spec_cases" / "good"
ROOT = GOOD.parents[2]

SHORT = """name: short
data: {name: iris}
model: {family: mlp}
space:
  parameters:
    learning_rate: {type: float, min: 0.001, max: 0.1, log: true}
"""


def mapping() -> dict[str, Any]:
    return {
        "name": "short",
        "data": {"name": "iris"},
        "model": {"family": "mlp"},
        "space": {"parameters": {"learning_rate": {"type": "float", "min": 0.001, "max": 0.1}}},
    }


@pytest.fixture
def short(project: Path) -> Path:
    path = project / "short.yaml"
    path.write_text(SHORT, encoding="utf-8")
    return path


def messages(path: Path | str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_pipeline(path, overrides)
    return [str(problem) for problem in caught.value.problems]


class TestFiles:
    def test_missing(self, project: Path) -> None:
        assert messages("no.yaml") == ["no.yaml: a pipeline file must exist. Received: no.yaml"]

    def test_directory(self, project: Path) -> None:
        (project / "folder").mkdir()
        assert messages("folder") == ["folder: a pipeline file must be a file. Received: the directory folder"]

    def test_too_large(self, project: Path) -> None:
        (project / "large.yaml").write_text("#" * (MAX_BYTES + 1))
        assert messages("large.yaml") == [
            f"large.yaml: a pipeline file must have at most 256 KiB. Received: {MAX_BYTES + 1} bytes"
        ]

    def test_byte_order_mark_and_windows_line_ends_are_fine(self, project: Path) -> None:
        (project / "dos.yaml").write_bytes(b"\xef\xbb\xbf" + SHORT.replace("\n", "\r\n").encode())
        assert load_pipeline("dos.yaml").spec.name == "short"

    @pytest.mark.parametrize(
        ("byte", "message"),
        [
            (b"\xff", "old.yaml:3:4: a pipeline file must be UTF-8 text. Received: byte 0xff"),
            (b"\x07", r"old.yaml:3:4: a pipeline file must hold printable characters only. Received: '\x07'"),
            (b"*x", "old.yaml:3:4: anchors and aliases are not allowed. Received: *x"),
        ],
    )
    def test_every_kind_of_line_end_counts(self, project: Path, byte: bytes, message: str) -> None:
        (project / "old.yaml").write_bytes(b"a: 1\rb: 2\r\nc: " + byte + b"\n")
        assert messages("old.yaml") == [message]

    def test_a_space_may_be_an_absolute_path(self, short: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "space.yaml"
        elsewhere.write_text("parameters: {l2: {type: float, min: 0, max: 1}}")
        assert list(load_pipeline(short, [f"space={elsewhere}"]).spec.space.parameters) == ["l2"]

    def test_the_project_is_marked_by_what_stands_in_it(self, project: Path) -> None:
        deep = project / "a" / "b" / "pipelines"
        deep.mkdir(parents=True)
        (deep / "p.yaml").write_text(SHORT.partition("space:")[0] + "space: ../../../space.yaml\n")
        (project / "space.yaml").write_text("parameters: {l2: {type: float, min: 0, max: 1}}")
        assert "must stay inside the project" in messages(deep / "p.yaml")[0]
        (project / "mlruns").mkdir()
        assert load_pipeline(deep / "p.yaml").spec.space.parameters

    def test_load_space(self, project: Path) -> None:
        (project / "space.yaml").write_text("parameters:\n  l2: {type: float, min: 0, max: 1}\n")
        assert load_space("space.yaml").parameters == {"l2": Float(min=0, max=1)}

    def test_load_space_reports_everything(self, project: Path) -> None:
        (project / "space.yaml").write_text(
            "parameters:\n  a: {type: float, min: 2, max: 1}\n  b: {type: int, min: 0, max: 1, when: {c: [1]}}\nx: 1\n"
        )
        with pytest.raises(SpecError) as caught:
            load_space("space.yaml")
        assert [str(problem) for problem in caught.value.problems] == [
            "space.yaml:2:25: parameters.a.min: min <= max must hold. Received: min=2.0, max=1.0",
            "space.yaml:3:41: parameters.b.when.c: a condition's parameter must be one of b, a. Received: 'c'",
            "space.yaml:4:1: x: a key of the file must be one of parameters. Received: 'x'",
        ]

    def test_loaded_pipeline_points_into_its_files(self) -> None:
        loaded = load_pipeline(GOOD / "everything.yaml")
        assert str(loaded.problem("rule.", "search", "trials")) == f"{GOOD}/everything.yaml:10:11: search.trials: rule."
        there = loaded.problem("rule.", "space", "parameters", "rho", "max")
        assert str(there) == f"{GOOD}/spaces/layers.yaml:9:47: space.parameters.rho.max: rule."
        nowhere = loaded.problem("rule.", "data", "csv")
        assert (nowhere.line, nowhere.column) == (2, 1)

    def test_loaded_pipeline_survives_pickling(self) -> None:
        loaded = load_pipeline(GOOD / "everything.yaml")
        assert pickle.loads(pickle.dumps(loaded)) == loaded


class TestOverrides:
    def test_values_are_yaml_and_sections_are_made(self, short: Path) -> None:
        spec = load_pipeline(
            short,
            [
                "search.trials=7",
                "search.searcher=random",
                "search.objective={metric: val_accuracy, direction: maximize}",
                "search.time_limit=",
                "training.fixed.activation=elu",
                "export.formats=[keras, onnx]",
                "export.formats.1=litert",
                "register=null",
            ],
        ).spec
        assert spec.search.trials == 7
        assert spec.search.searcher == RandomSearch()
        assert spec.objective == Objective("val_accuracy", Direction.MAXIMIZE)
        assert spec.training.fixed == {"activation": "elu"}
        assert spec.export.formats == ["keras", "litert"]
        assert spec.register_ is None

    def test_a_bare_name_grows_options(self, short: Path) -> None:
        spec = load_pipeline(
            short,
            ["search.searcher=tpe", "search.searcher.startup=3", "search.scheduler=asha", "search.scheduler.grace=2"],
        ).spec
        assert spec.search.searcher == TpeSearch(startup=3)
        assert spec.search.scheduler == AshaScheduler(grace=2)

    def test_a_space_in_a_file_can_be_changed(self) -> None:
        loaded = load_pipeline(GOOD / "everything.yaml", ["space.parameters.n_neurons_3.max=32"])
        assert loaded.spec.space.parameters["n_neurons_3"].max == 32  # type: ignore[union-attr]
        assert loaded.text == (GOOD / "everything.yaml").read_text()

    def test_the_last_one_wins(self, short: Path) -> None:
        assert load_pipeline(short, ["search.trials=7", "search={trials: 8}"]).spec.search.trials == 8

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("search.trials=0", "--set search.trials=0: search.trials: trials must be >= 1. Received: 0"),
            (
                "search.trails=5",
                "--set search.trails=5: search.trails: a key of search must be one of objective, searcher, scheduler, "
                "points, warm_start, folds, trials, max_epochs, time_limit, seed. Did you mean 'trials'? "
                "Received: 'trails'",
            ),
            (
                "space.parameters.learning_rat.max=1",
                "--set space.parameters.learning_rat.max=1: a parameter of the space must be one of learning_rate. "
                "Did you mean 'learning_rate'? Received: 'learning_rat'",
            ),
            ("trials", "--set trials: an override must look like path.to.key=value. Received: 'trials'"),
            ("a..b=1", "--set a..b=1: an override must look like path.to.key=value. Received: 'a..b=1'"),
            ("name.x=1", "--set name.x=1: name: only a mapping has keys to set. Received: 'x' in 'short'"),
            (
                "search.trials=[1",
                "--set search.trials=[1: the value must be valid YAML. Received: expected ',' or ']', but got the end "
                "of the file, while parsing a flow sequence that begins in line 1",
            ),
            (
                "search={a: 1, a: 2}",
                "--set search={a: 1, a: 2}: a key must appear once. Received: 'a' again, after line 1",
            ),
        ],
    )
    def test_problems_name_the_override(self, short: Path, override: str, message: str) -> None:
        assert messages(short, override) == [message]

    def test_a_list_has_no_such_item(self, short: Path) -> None:
        assert messages(short, "export.formats=[keras]", "export.formats.1=onnx") == [
            "--set export.formats.1=onnx: export.formats: a list's item must be a number from 0 to 0. Received: '1'"
        ]


class TestMapping:
    def test_same_checks_without_places(self, tmp_path: Path) -> None:
        given = mapping() | {"search": {"trails": 3}}
        with pytest.raises(SpecError) as caught:
            pipeline_from_mapping(given, tmp_path)
        (problem,) = caught.value.problems
        assert problem.path == ("search", "trails")
        assert (problem.file, problem.line, problem.column) == (None, None, None)

    def test_python_values(self, tmp_path: Path) -> None:
        (tmp_path / "houses.csv").write_text("a,b\n1,2\n")
        given = mapping() | {"data": {"csv": Path("houses.csv"), "target": ("b",)}}
        given["search"] = {"objective": {"metric": "val_mae", "direction": Direction.MINIMIZE}}
        loaded = pipeline_from_mapping(given, tmp_path)
        assert loaded.directory == tmp_path.resolve()
        assert loaded.path is None
        assert loaded.spec.data.csv == Path("houses.csv")

    def test_functions_at_hand_need_no_source(self, tmp_path: Path) -> None:
        def build(learning_rate: float, units: int) -> None: ...

        given = mapping() | {"model": {"builder": "__main__:build"}, "data": {"python": "memory:rows"}}
        with pytest.raises(SpecError) as caught:
            pipeline_from_mapping(given, tmp_path, functions={"__main__:build": build, "memory:rows": None})
        assert [problem.message for problem in caught.value.problems] == [
            "units must be in the space or in training.fixed, as build has no default for it. Received: nothing"
        ]
        given["training"] = {"fixed": {"units": 3}}
        assert pipeline_from_mapping(given, tmp_path, functions={"__main__:build": build, "memory:rows": None})

    @pytest.mark.parametrize(
        "change", [{1: 2}, {"search": print}, {"space": 3}, {"data": object()}, {"training": {"fixed": {1: 2}}}]
    )
    def test_whatever_is_given_ends_in_spec_error(self, tmp_path: Path, change: dict[Any, Any]) -> None:
        with pytest.raises(SpecError):
            pipeline_from_mapping(mapping() | change, tmp_path)

    def test_a_mapping_that_holds_itself(self, tmp_path: Path) -> None:
        given = mapping()
        given["search"] = given
        with pytest.raises(SpecError, match="nested at most"):
            pipeline_from_mapping(given, tmp_path)


def test_checking_is_light() -> None:
    """It needs no heavy libraries."""
    script = f"""
import json, sys
import kerasweep.spec
kerasweep.spec.load_pipeline({str(ROOT / "pipelines" / "california_housing.yaml")!r})
print(json.dumps(sorted(sys.modules)))
"""
    path = str(Path(kerasweep.spec.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    modules = json.loads(done.stdout)
    heavy = {"numpy", "pandas", "tensorflow", "keras", "ray", "mlflow", "sklearn", "matplotlib", "optuna"}
    assert heavy.isdisjoint(modules)


# What may stand where something else was expected.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["auto", "sgd", "val_loss", "tpe", "30m", "../x.yaml", "a:b", "momentum", "float", "1e400"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "min", "max", "name", "when", "values", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in paths_of(child, (*path, key)))]


def document() -> dict[str, Any]:
    yaml = YAML(typ="safe", pure=True)
    whole: dict[str, Any] = yaml.load((GOOD / "everything.yaml").read_text())
    whole["space"] = yaml.load((GOOD / "spaces" / "layers.yaml").read_text())
    return whole


DOCUMENT = document()


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A good pipeline with a few of its values replaced, keys renamed, and parts left out."""
    whole = copy.deepcopy(DOCUMENT)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([path for path in paths_of(whole) if path] or [("name",)]))
        holder: Any = whole
        for part in path[:-1]:
            holder = holder[part]
        action = draw(st.sampled_from(["replace", "remove", "rename"]))
        if action == "replace" or isinstance(holder, list):
            holder[path[-1]] = draw(VALUES)
        else:
            value = holder.pop(path[-1], None)
            if action == "rename":
                holder[draw(st.text(min_size=1, max_size=6)) + str(path[-1])] = value
    return whole


def outcome(path: Path) -> LoadedPipeline | SpecError:
    try:
        return load_pipeline(path)
    except SpecError as error:
        for problem in error.problems:
            assert problem.file
            assert problem.line is not None, problem
            assert problem.column is not None, problem
            assert "Received: " in problem.message, problem
        return error


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole=mutated())
def test_a_mutated_document_is_accepted_or_refused_with_lines(tmp_path: Path, whole: dict[str, Any]) -> None:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(whole, stream)
    path = tmp_path / "mutated.yaml"
    path.write_text(stream.getvalue(), encoding="utf-8")
    outcome(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_text_is_accepted_or_refused_with_lines(tmp_path: Path, data: st.DataObject) -> None:
    text = (GOOD / "csv_and_builder.yaml").read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 4)))
        special = st.text(st.sampled_from("{}[]:,#&*!|>'\"%@`\t\n -?~\\\0u\x85\u2028\ud83d9.e"), max_size=4)
        text = text[:start] + data.draw(special) + text[end:]
    path = tmp_path / "mutated.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome(path)


@settings(deadline=None)
@given(value=VALUES)
def test_reading_agrees_with_what_was_dumped(value: Any) -> None:
    """Of the tree's values with those of the library's own loader."""
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump({"value": value}, stream)
    try:
        expected = YAML(typ="safe", pure=True).load(stream.getvalue())
    except YAMLError:  # it writes {a: :0}, which it cannot read
        assume(False)
    read = parse(stream.getvalue(), "f", "the text")
    if not read.problems:  # a whole number of more than 64 bits is one
        assert repr(read.root.plain()) == repr(expected)
