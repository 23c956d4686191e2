"""Rungs and brackets of Hyperband and ASHA, in the numbers of Ray Tune, which decides on them across trials.

Sources: Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband, JMLR 18 (2018); Li et al.: A System for Massively
Parallel Hyperparameter Tuning (ASHA), MLSys 2020. Their R is ``max_epochs`` here, n and r of a bracket are ``trials``
and its first rung, and a bracket of index s is halved s times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kerasweep.errors import Problem, SpecError
from kerasweep.spec.pipeline import HyperbandScheduler, SchedulerSpec


@dataclass(frozen=True)
class Bracket:
    """A ladder of rungs that a group of trials climbs together.

    Attributes:
        trials: how many start; the paper's n.
        rungs: the epochs at which the scheduler decides; ``rungs[0]`` is the paper's r, and at the last one all end.
        eta: after every rung but the last, the best 1/eta go on, rounded up.
    """

    trials: int
    rungs: tuple[int, ...]
    eta: float

    @property
    def survivors(self) -> tuple[int, ...]:
        """How many trials train to each rung."""
        left = [self.trials]
        for _ in self.rungs[1:]:
            left.append(math.ceil(left[-1] / self.eta))
        return tuple(left)

    def epochs(self, trials: int | None = None) -> int:
        """The sum of all trials' epochs if none ends early by itself.

        Args:
            trials: how many start, if fewer than the bracket holds. A rung lets as many go on as in a full bracket.
        """
        started = self.trials if trials is None else trials
        done = 0
        total = 0
        for rung, survivors in zip(self.rungs, self.survivors, strict=True):
            total += min(started, survivors) * (rung - done)
            done = rung
        return total


def hyperband_brackets(max_epochs: int, eta: float) -> tuple[Bracket, ...]:
    """The brackets of one band, in the order in which Ray Tune's ``HyperBandScheduler`` fills them.

    The paper starts with the most aggressive bracket, Ray with s = 0, whose trials all train to the end. Ray's numbers
    differ from the paper's in rounding: s_max is rounded, not cut off, a bracket whose first rung would be epoch 0 is
    left out, and rungs are cut to whole epochs one after the other, so that a last rung may lie before ``max_epochs``.

    Args:
        max_epochs: the paper's R, at least 1.
        eta: the paper's η, over 1.

    Raises:
        SpecError: if whole epochs leave no room between two rungs, which can only be when eta is under 2. Ray would
            wait there for ever.
    """
    _check(max_epochs, eta)
    s_max_1 = round(math.log(max_epochs) / math.log(eta)) + 1
    brackets = []
    for s in range(s_max_1):
        first = int(max_epochs * eta**-s)
        if first == 0:
            continue
        rungs = [first]
        for _ in range(s):
            rungs.append(int(min(rungs[-1] * eta, max_epochs)))
        if any(rung <= before for before, rung in pairwise(rungs)):
            rule = "eta must be so large that every rung of a bracket lies after the one before it (2 always is)"
            received = f"eta={eta:g}, max_epochs={max_epochs}: rungs at epochs {', '.join(map(str, rungs))}"
            raise SpecError([Problem(f"{rule}. Received: {received}", ("search", "scheduler", "eta"))])
        brackets.append(Bracket(math.ceil(s_max_1 / (s + 1) * eta**s), tuple(rungs), eta))
    return tuple(brackets)


def bracket_of(trial: int, brackets: Sequence[Bracket]) -> int:
    """The index of the bracket that a trial falls into: one after the other is filled, then a new band begins.

    Args:
        trial: its 0-based number.
        brackets: of one band.
    """
    place = trial % sum(bracket.trials for bracket in brackets)
    for index, bracket in enumerate(brackets):
        if place < bracket.trials:
            return index
        place -= bracket.trials
    raise ValueError(f"a trial's number must be >= 0. Received: {trial}")


def asha_rungs(grace: int, eta: float, max_epochs: int, brackets: int) -> tuple[tuple[int, ...], ...]:
    """The rungs of each bracket of Ray Tune's ``AsyncHyperBandScheduler``, ascending.

    Bracket s decides at ``grace * eta**(s + k)``, k = 0, 1, …, up to ``max_epochs``; a fractional rung decides at the
    first whole epoch after it. A trial that passes all rungs trains to ``max_epochs``. Ray draws the bracket of each
    trial with a probability that grows with its number of rungs.

    Args:
        grace: the paper's r, the first rung of bracket 0.
        eta: the paper's η, over 1.
        max_epochs: the paper's R.
        brackets: how many; the paper's s goes from 0 to ``brackets - 1``.

    Raises:
        SpecError: if the first rung lies beyond the last epoch.
    """
    _check(max_epochs, eta)
    if not 1 <= grace <= max_epochs:
        message = f"1 <= grace <= max_epochs must hold. Received: grace={grace}, max_epochs={max_epochs}"
        raise SpecError([Problem(message, ("search", "scheduler", "grace"))])
    rungs = []
    for s in range(brackets):
        count = int(math.log(max_epochs / grace) / math.log(eta) - s + 1)
        rungs.append(tuple(math.ceil(grace * eta ** (k + s)) for k in range(count)))
    return tuple(rungs)


def last_epochs(scheduler: SchedulerSpec, max_epochs: int) -> tuple[int, ...]:
    """The epoch at which the scheduler ends even its best trials, by trial number.

    Returns:
        One entry for each trial of a band, after which the next band begins; empty if it is ``max_epochs`` for all.
    """
    if not isinstance(scheduler, HyperbandScheduler):
        return ()
    brackets = hyperband_brackets(max_epochs, scheduler.eta)
    epochs = tuple(bracket.rungs[-1] for bracket in brackets for _ in range(bracket.trials))
    return () if set(epochs) == {max_epochs} else epochs


def _check(max_epochs: int, eta: float) -> None:
    if max_epochs < 1:
        raise ValueError(f"max_epochs must be >= 1. Received: {max_epochs}")
    if eta <= 1:
        raise ValueError(f"eta must be > 1. Received: {eta:g}")
