"""From a real study to the next space file, and a pipeline that takes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kerasweep
from kerasweep.errors import SpecError
from kerasweep.spec import load_pipeline, load_space
from kerasweep.spec.parameters import Choice, Float, Int

PIPELINE = """\
name: tiny
data: {name: iris}
model: {family: mlp}
space: SPACE
search: {searcher: random, scheduler: none, trials: 24, max_epochs: 3, seed: 1}
training: {early_stopping: null, fixed: {batch_size: 16}}
retrain: null
export: {formats: []}
register: null
"""
SPACE = """\
parameters:
  n_hidden: {type: int, min: 0, max: 2}
  n_neurons: {type: int, min: 4, max: 64, log: true}
  optimizer: {type: choice, values: [sgd, adam]}
  momentum: {type: float, min: 0.0, max: 0.9, when: {optimizer: [sgd]}}
  learning_rate: {type: float, min: 1.0e-5, max: 1.0, log: true}
"""


def command(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "kerasweep", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_study_s_next_space(project: Path) -> None:
    (project / "space.yaml").write_text(SPACE)
    (project / "tiny.yaml").write_text(PIPELINE.replace("SPACE", "space.yaml"))
    (project / "next.yaml").write_text(PIPELINE.replace("SPACE", "next_space.yaml"))
    first = kerasweep.run(load_pipeline("tiny.yaml"))

    shown = command("narrow", "tiny", "--out", "next_space.yaml").stdout
    assert "narrowed around the best 5 of 24 trials" in shown
    assert "space: next_space.yaml" in shown
    assert load_pipeline("next.yaml").spec.space == load_space("next_space.yaml")

    found = kerasweep.narrow("tiny")
    narrowed = load_space("next_space.yaml")
    assert narrowed == found.spec
    assert found.volume < 0.6
    assert first.best is not None
    for name, value in first.best.params.items():
        parameter = narrowed.parameters[name]
        assert not isinstance(parameter, Float | Int) or parameter.min <= value <= parameter.max
        assert isinstance(parameter, Float | Int | Choice)
        assert parameter.prior == value
    assert kerasweep.narrow("tiny", keep=0.5).best == 12

    again = command("narrow", "tiny", "--out", "next_space.yaml", code=2)
    assert "a space file to write must not exist yet. Received: next_space.yaml" in again.stderr
    with pytest.raises(SpecError):
        kerasweep.narrow("tiny", "next_space.yaml")
