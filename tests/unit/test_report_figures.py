from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image

from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.report import write_figures, write_learning_curve
from kerasweep.report.curves import best_over_time, learning_curve, learning_curves
from kerasweep.report.importance import importance
from kerasweep.report.style import robust_limits, short
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Fixed, Float, Int

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    n_hidden=Int(min=0, max=3),
    n_neurons=Int(min=1, max=300),
    optimizer=Choice(values=["sgd", "adam"]),
    momentum=Float(min=0.0, max=0.99, when={"optimizer": ["sgd"]}),
    learning_rate=Float(min=3e-4, max=3e-2, log=True),
    width=Int(min=10, max=2000, log=True),
    flag=Choice(values=[True, False, 1]),
)
NAMES = ["best_over_time.png", "learning_curves.png", "parallel_coordinates.png", "importance.png", "interactions.png"]


def study(count: int, objective: Objective = LOSS, seed: int = 0) -> list[Trial]:
    """Trials whose value depends on the learning rate most, on momentum where it is active, and on nothing else."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        params = SPACE.sample(rng)
        value = abs(math.log10(float(params["learning_rate"])) + 2) + 0.3 * float(params.get("momentum", 0.5))
        epochs = int(rng.integers(1, 12))
        curve = [value + 1 / epoch for epoch in range(1, epochs + 1)]
        sign = 1 if objective.direction is Direction.MINIMIZE else -1
        history = tuple({"loss": sign * (each - 0.1), objective.metric: sign * each} for each in curve)
        status = Status.STOPPED if epochs < 6 else Status.FINISHED
        trials.append(
            Trial(number, params, 0, status, "", history, sign * curve[-1], epochs, 1e9 + 3 * number, float(epochs))
        )
    return trials


def failed(number: int) -> Trial:
    params = SPACE.sample(np.random.default_rng(number))
    history = ({"loss": math.nan, "val_loss": math.nan},)
    return Trial(number, params, 0, Status.FAILED, "NaN loss", history, None, None, 1e9, 2.0)


CASES = {
    "none": [],
    "one": study(1),
    "two": study(2),
    "three": study(3),
    "all failed": [failed(n) for n in range(4)],
    "some failed": [*study(12), *(failed(n) for n in range(12, 15))],
    "diverged": [*study(12), Trial(12, study(1)[0].params, 0, Status.FINISHED, "", ({"val_loss": 1e30},), 1e30, 1)],
    "not finite": [*study(3), Trial(3, study(1)[0].params, 0, Status.FINISHED, "", (), math.nan, None)],
    "all equal": [Trial(t.number, t.params, 0, Status.FINISHED, "", t.history, 1.0, 1) for t in study(6)],
    "no history": [Trial(t.number, t.params, 0, Status.FINISHED, "", (), t.value, None) for t in study(6)],
    "running": [Trial(0, study(1)[0].params, 0)],
    "of another space": [Trial(0, {"x": 1}, 0, Status.FINISHED, "", ({"val_loss": 1.0},), 1.0, 1)],
}


@pytest.mark.parametrize("trials", CASES.values(), ids=CASES)
def test_figures_are_written_whatever_happened(trials: list[Trial], tmp_path: Path) -> None:
    before = mpl.rcParams.copy()
    paths = write_figures(trials, LOSS, SPACE, tmp_path / "new" / "figures")
    assert [path.name for path in paths] == NAMES
    for path in paths:
        pixels = image.imread(path)
        assert pixels.shape[1] >= 800
        assert pixels[..., :3].std() > 0.01, "something is drawn"
    assert mpl.rcParams == before


def test_nothing_but_fixed_parameters(tmp_path: Path) -> None:
    trials = [Trial(n, {"a": 1}, 0, Status.FINISHED, "", ({"val_loss": 1.0 + n},), 1.0 + n, 1) for n in range(5)]
    assert len(write_figures(trials, LOSS, Space.of(a=Fixed(value=1)), tmp_path)) == 5


def test_a_metric_to_maximise(tmp_path: Path) -> None:
    objective = Objective("val_accuracy", Direction.MAXIMIZE)
    assert len(write_figures(study(20, objective), objective, SPACE, tmp_path)) == 5


def test_no_global_state_of_pyplot() -> None:
    script = "import sys, kerasweep.report.curves, kerasweep.report.parallel, kerasweep.report.interactions\n"
    script += "sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_tables_need_no_matplotlib() -> None:
    script = "import sys, kerasweep.report\nsys.exit('matplotlib' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_training_curves_are_half_an_epoch_to_the_left() -> None:
    trial = study(1)[0]
    axes = learning_curves([trial], LOSS, 1).axes[0]
    validation, training = axes.lines[:2]
    epochs = np.arange(1, len(trial.history) + 1)
    assert validation.get_xdata() == pytest.approx(epochs)
    assert validation.get_ydata() == pytest.approx(trial.curve("val_loss"))
    assert training.get_xdata() == pytest.approx(epochs - 0.5)
    assert training.get_ydata() == pytest.approx(trial.curve("loss"))


def test_a_trial_s_own_figure_shows_both_curves_and_the_loss_beside_another_objective() -> None:
    history = tuple(
        {"loss": 1 / e, "val_loss": 1.2 / e, "accuracy": 1 - 0.5 / e, "val_accuracy": 1 - 0.6 / e} for e in range(1, 8)
    )
    trial = Trial(4, {}, 0, Status.FINISHED, "", history, history[-1]["val_accuracy"], 7)
    figure = learning_curve(trial, Objective("val_accuracy", Direction.MAXIMIZE))
    assert [axes.get_ylabel() for axes in figure.axes] == ["val_accuracy", "val_loss"]
    for axes in figure.axes:
        metric = axes.get_ylabel()
        validation, training, best = axes.lines
        assert list(validation.get_xdata()) == [1, 2, 3, 4, 5, 6, 7]
        assert list(validation.get_ydata()) == [metrics[metric] for metrics in history]
        assert list(training.get_xdata()) == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
        assert list(training.get_ydata()) == [metrics[metric.removeprefix("val_")] for metrics in history]
        assert (list(best.get_xdata()), list(best.get_ydata())) == ([7], [history[-1][metric]])


def test_a_trial_s_own_figure_is_written(tmp_path: Path) -> None:
    path = write_learning_curve(study(1)[0], LOSS, tmp_path / "new" / "7")
    assert path == tmp_path / "new" / "7" / "learning_curve.png"
    assert image.imread(path)[..., :3].std() > 0.01
    without = Trial(0, {}, 0, Status.FINISHED, "", (), 1.0, None)
    assert write_learning_curve(without, LOSS, tmp_path).exists()


@pytest.mark.parametrize("direction", Direction)
def test_the_best_so_far_only_improves(direction: Direction) -> None:
    objective = Objective("val_score", direction)
    trials = study(30, objective)
    (steps,) = [line for line in best_over_time(trials, objective).axes[0].lines if len(line.get_xdata()) > 1]
    values = np.asarray(steps.get_ydata())
    best = min if direction is Direction.MINIMIZE else max
    assert values[-1] == best(trial.value for trial in trials if trial.value is not None)
    change = np.diff(values)
    assert np.all(change <= 0) if direction is Direction.MINIMIZE else np.all(change >= 0)


def test_importance_finds_what_mattered() -> None:
    """Six studies of 40 trials: the learning rate's share lies over that of anything else by four sigma of its mean."""
    lead = []
    for seed in range(6):
        found = importance(study(40, seed=seed), SPACE, seed)
        assert found is not None
        shares = found.shares
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) == set(SPACE.dimensions)
        lead.append(shares["learning_rate"] - max(share for name, share in shares.items() if name != "learning_rate"))
    assert np.mean(lead) > 4 * np.std(lead, ddof=1) / math.sqrt(6)


def test_importance_is_seeded() -> None:
    trials = study(8)
    assert importance(trials, SPACE, 3) == importance(trials, SPACE, 3)
    assert importance(trials, SPACE, 3) != importance(trials, SPACE, 4)


def test_importance_of_too_few_trials_is_unknown() -> None:
    assert importance(study(3), SPACE) is None
    assert importance([], SPACE) is None
    assert importance(CASES["all equal"], SPACE) is None
    assert importance(CASES["all failed"], SPACE) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.26951, "0.2695"), (1.0, "1"), (0, "0"), (12345.6, "12,346"), (3e-4, "3e-4"), (1.25e7, "1.2e7"), (-0.5, "-0.5"),
     (100, "100"), (math.inf, "inf"), (0.0999999, "0.1")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_outliers_leave_the_scale_on_the_bad_side_only() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    low, high = robust_limits([*values, 1000.0, -3.0], lower_is_better=True)
    assert low < -3
    assert 1.7 < high < 10
    low, high = robust_limits([*values, 5.0, -1000.0], lower_is_better=False)
    assert -10 < low < 1
    assert high > 5
    low, high = robust_limits([2.0], lower_is_better=True)
    assert low < 2 < high
