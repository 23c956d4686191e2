"""The same trainer on Keras's JAX backend, which takes a process of its own: Keras chooses its backend once.

Dropout is left out: on JAX, Keras's own draws other bits than on TensorFlow, while a cohort draws the same on both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NUMBERS = Path(__file__).with_name("test_training_cohort_numbers.py")
CHOSEN = (
    f"{NUMBERS}::test_a_masked_narrow_shallow_member_equals_its_own_network[0.0-mlp]",
    f"{NUMBERS}::test_models_of_a_users_builder_get_the_numbers_of_fit[subclassed]",
)


@pytest.mark.slow
def test_members_get_the_numbers_of_fit_on_jax() -> None:
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasweep[jax]'")
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHOSEN],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=NUMBERS.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert f"{len(CHOSEN)} passed" in shown.stdout
