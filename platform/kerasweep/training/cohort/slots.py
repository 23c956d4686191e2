"""A member's place in a stack, and what of the member only the host needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kerasweep.records import Params
from kerasweep.training.cohort.optimizers import Settings


@dataclass
class Slot:
    """One member's place in a stack.

    Attributes:
        number: of the member; None for a copy that fills up the stack.
        optimizer: its settings as they are now.
        knobs: likewise.
        seeds: dropout layer -> (seed, draws so far).
        row: of the shape, i.e. which member's masks are its own.
        origin: row of the member whose optimiser it has: its own, or the one that it copied.
    """

    number: int | None
    optimizer: Settings
    knobs: dict[str, float]
    seeds: dict[str, tuple[int, int]]
    row: int
    origin: int

    def copy(self, number: int | None) -> Slot:
        """The same for another member, or for none."""
        return replace(self, number=number, knobs=dict(self.knobs), seeds=dict(self.seeds))

    def change(self, params: Params) -> None:
        """Changes hyperparameters; those that it does not have are left out."""
        self.optimizer = self.optimizer.changed(params)
        for knob in self.knobs:
            setting = "dropout" if knob.endswith("/rate") else knob.rpartition(".")[2]
            if setting in params:
                self.knobs[knob] = float(params[setting])

    def to_state(self) -> dict[str, Any]:
        """Everything, as JSON values; a schedule of the learning rate is its origin's."""
        rate = self.optimizer.learning_rate
        return {
            "number": self.number,
            "rate": None if callable(rate) else rate,
            "coefficients": dict(self.optimizer.coefficients),
            "knobs": self.knobs,
            "seeds": self.seeds,
            "row": self.row,
            "origin": self.origin,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], optimizers: Sequence[Settings]) -> Slot:
        """What ``to_state`` gave; each row's optimiser as it began."""
        own = optimizers[state["origin"]]
        rate = own.learning_rate if state["rate"] is None else state["rate"]
        seeds = {layer: (int(seed), int(count)) for layer, (seed, count) in state["seeds"].items()}
        optimizer = replace(own, learning_rate=rate, coefficients=state["coefficients"])
        return cls(state["number"], optimizer, dict(state["knobs"]), seeds, state["row"], state["origin"])
