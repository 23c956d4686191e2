"""The exception tree: what each error is, what it says, and that it crosses process borders whole."""

from __future__ import annotations

import pickle

import pytest

from kerasweep import errors
from kerasweep.errors import KerasweepError, MissingExtra, Problem, SpecError, StudyNotFound, one_of

TREE = {
    "SpecError": ValueError,
    "DataError": ValueError,
    "ModelError": ValueError,
    "ResourceError": RuntimeError,
    "TrackingError": RuntimeError,
    "StorageError": RuntimeError,
    "StudyError": RuntimeError,
    "StudyNotFound": LookupError,
    "DeliveryError": RuntimeError,
    "MissingExtra": ImportError,
}


def test_every_error_is_ours_and_of_the_nearest_builtin_kind() -> None:
    defined = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    ours = {name for name, kind in defined.items() if issubclass(kind, KerasweepError) and kind is not KerasweepError}
    assert ours == TREE.keys()
    for name, builtin in TREE.items():
        assert issubclass(defined[name], builtin)
        assert name in (errors.__doc__ or "")  # the tree that people read


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("rule"), "rule"),
        (Problem("rule", ("space", "a", 2)), "space.a.2: rule"),
        (Problem("rule", (), "p.yaml", 3, 7), "p.yaml:3:7: rule"),
        (Problem("rule", ("name",), "p.yaml", 3, 7), "p.yaml:3:7: name: rule"),
        (Problem("rule", ("name",), "p.yaml"), "p.yaml: name: rule"),
    ],
)
def test_a_problem_says_where_before_what(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_spec_error_lists_all_problems_and_survives_pickling() -> None:
    problems = (Problem("first", ("a",)), Problem("second", ("b",), "p.yaml", 1, 2))
    error = pickle.loads(pickle.dumps(SpecError(problems)))
    assert isinstance(error, ValueError)
    assert error.problems == problems
    assert str(error) == "a: first\np.yaml:1:2: b: second"


def test_a_spec_error_without_a_problem_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        SpecError([])


def test_a_missing_extra_says_how_to_install_it_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(MissingExtra("ONNX export", "onnx")))
    assert str(error) == "ONNX export needs an optional package: pip install 'kerasweep[onnx]'"
    assert (error.feature, error.extra) == ("ONNX export", "onnx")


def test_a_study_not_found_is_a_study_error() -> None:
    assert issubclass(StudyNotFound, errors.StudyError)


def test_an_unknown_name_gets_the_valid_ones_and_the_nearest() -> None:
    near = "an optimiser must be one of adam, sgd. Did you mean 'adam'? Received: 'adm'"
    assert one_of("an optimiser", "adm", ["adam", "sgd"]) == near
    assert one_of("an optimiser", 7, ["adam", "sgd"]) == "an optimiser must be one of adam, sgd. Received: 7"


def test_what_is_too_long_to_read_is_cut_in_the_middle() -> None:
    problem = Problem(
        f"a name must be short. Received: {'x' * 5000}; the end", ("space", "y" * 5000, "min"), "a.yaml", 1, 2
    )
    place, path, message = str(problem).split(": ", 2)
    assert place == "a.yaml:1:2"
    assert path.startswith("space.yyy")
    assert path.endswith("yyy.min")
    assert message.startswith("a name must be short. Received: xxx")
    assert message.endswith("xxx; the end")
    assert len(path) + len(message) < 2100
    assert len(problem.message) > 5000
