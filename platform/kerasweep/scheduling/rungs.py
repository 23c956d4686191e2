"""Rungs and brackets of Hyperband and ASHA: the papers' numbers within cohorts, Ray Tune's where Ray decides.

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
from kerasweep.spec.schedulers import HyperbandScheduler, SchedulerSpec

# What rounding may leave of a whole number: far below one trial or one epoch, far above a float's error.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Bracket:
    """A ladder of rungs that a group of trials climbs together.

    Attributes:
        rungs: the epochs at which the scheduler decides; ``rungs[0]`` is the paper's r, and at the last one all end.
        survivors: how many trials train to each rung; ``survivors[0]`` is the paper's n.
    """

    rungs: tuple[int, ...]
    survivors: tuple[int, ...]

    @property
    def trials(self) -> int:
        """How many start."""
        return self.survivors[0]

    def capped(self, started: int) -> tuple[int, ...]:
        """How many train to each rung if fewer start: a rung lets as many go on as in a full bracket, as Ray's do."""
        return tuple(min(started, survivors) for survivors in self.survivors)

    def scaled(self, started: int) -> tuple[int, ...]:
        """How many of a part of the bracket train to each rung: the same fraction, rounded, at least one."""
        return tuple(
            max(min(started, 1), math.floor(started * survivors / self.trials + 0.5)) for survivors in self.survivors
        )


def epochs_of(rungs: Sequence[int], survivors: Sequence[float]) -> float:
    """The sum of all trials' epochs when so many train to each rung, and none ends early by itself."""
    return sum(count * (rung - done) for count, (done, rung) in zip(survivors, pairwise((0, *rungs)), strict=True))


def hyperband_brackets(max_epochs: int, eta: float, cohort: int = 1) -> tuple[Bracket, ...]:
    """The brackets of one band, in the order in which trials fill them.

    Args:
        max_epochs: the paper's R, at least 1.
        eta: the paper's η, over 1.
        cohort: members of a cohort; with 1 Ray decides, in numbers of its own, else they are the paper's.

    Raises:
        SpecError: if whole epochs leave no room between two rungs, which can only be when eta is under 2.
    """
    return _ray_brackets(max_epochs, eta) if cohort == 1 else paper_brackets(max_epochs, eta)


def paper_brackets(max_epochs: int, eta: float) -> tuple[Bracket, ...]:
    """The brackets of one band as in algorithm 1 of the paper, the most aggressive one first.

    s_max = ⌊log_η R⌋; for s = s_max, …, 0: n = ⌈(s_max + 1) / (s + 1) · η^s⌉, r = R · η^-s. At rung i, n_i = ⌊n · η^-i⌋
    trials have trained r_i = r · η^i epochs, and the best ⌊n_i / η⌋ go on, at least one. (The paper's B is
    (s_max + 1) · R.) A rung is rounded to the nearest whole epoch, a half up; as r >= 1 and η >= 2, no two rungs fall
    together, and the last one is R itself.

    Args:
        max_epochs: the paper's R, at least 1.
        eta: the paper's η, over 1.

    Raises:
        SpecError: as ``hyperband_brackets`` says.
    """
    _check(max_epochs, eta)
    s_max = 0
    while eta ** (s_max + 1) <= max_epochs * (1 + _TOLERANCE):  # a quotient of logarithms misses 3**5
        s_max += 1
    brackets = []
    for s in range(s_max, -1, -1):
        started = math.ceil((s_max + 1) * eta**s / (s + 1) - _TOLERANCE)
        arrived = [_floor(started * eta**-i) for i in range(s)]
        survivors = (started, *(max(1, _floor(count / eta)) for count in arrived))
        rungs = tuple(math.floor(max_epochs * eta ** (i - s) + 0.5) for i in range(s + 1))
        brackets.append(Bracket(_climbing(rungs, max_epochs, eta), survivors))
    return tuple(brackets)


def _ray_brackets(max_epochs: int, eta: float) -> tuple[Bracket, ...]:
    """The brackets of one band, in the order in which Ray Tune's ``HyperBandScheduler`` fills them.

    The paper starts with the most aggressive bracket, Ray with s = 0, whose trials all train to the end. Ray's numbers
    differ from the paper's in rounding: s_max is rounded, not cut off, a bracket whose first rung would be epoch 0 is
    left out, and rungs are cut to whole epochs one after the other, so that a last rung may lie before ``max_epochs``;
    after every rung but the last the best 1/eta go on, rounded up. Where rungs do not climb, Ray would wait for ever.
    """
    _check(max_epochs, eta)
    s_max_1 = round(math.log(max_epochs) / math.log(eta)) + 1
    brackets = []
    for s in range(s_max_1):
        first = int(max_epochs * eta**-s)
        if first == 0:
            continue
        rungs = [first]
        survivors = [math.ceil(s_max_1 / (s + 1) * eta**s)]
        for _ in range(s):
            rungs.append(int(min(rungs[-1] * eta, max_epochs)))
            survivors.append(math.ceil(survivors[-1] / eta))
        brackets.append(Bracket(_climbing(tuple(rungs), max_epochs, eta), tuple(survivors)))
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


def auto_rungs(max_epochs: int, eta: float) -> tuple[int, ...]:
    """The rungs of the scheduler auto, ascending: ``max_epochs`` over the first three powers of eta, from epoch 1 on.

    Args:
        max_epochs: the most a trial trains.
        eta: over 1.
    """
    _check(max_epochs, eta)
    rungs = {math.floor(max_epochs * eta**-power + 0.5) for power in (1, 2, 3)}
    return tuple(sorted(rung for rung in rungs if 1 <= rung < max_epochs))


def ladder_of(rungs: tuple[int, ...], first: int, members: int) -> tuple[int, ...]:
    """The rungs of one cohort of the scheduler auto: every third passes the first one if others follow.

    Args:
        rungs: ``auto_rungs``.
        first: the lowest number of its members; cohorts are taken to be of one size.
        members: of the cohort.
    """
    return rungs[1:] if len(rungs) > 1 and first // members % 3 == 2 else rungs


def bracket_weights(ladders: Sequence[Sequence[int]]) -> list[float]:
    """How likely a trial falls into each of ASHA's brackets, up to a factor; in Ray Tune, and in cohorts alike."""
    return [math.exp(len(ladder)) for ladder in ladders]


def best_share(trials: float, eta: float) -> int:
    """How many go on at a rung of ASHA in a cohort: 1/eta of those that came, cut off, at least one."""
    return max(1, _floor(trials / eta))


def last_epochs(scheduler: SchedulerSpec, max_epochs: int, cohort: int = 1) -> tuple[int, ...]:
    """The epoch at which the scheduler ends even its best trials, by trial number.

    Args:
        scheduler: of the study.
        max_epochs: of a trial.
        cohort: members of a cohort; with 1 Ray decides.

    Returns:
        One entry for each trial of a band, after which the next band begins; empty if it is ``max_epochs`` for all.
    """
    if not isinstance(scheduler, HyperbandScheduler):
        return ()
    brackets = hyperband_brackets(max_epochs, scheduler.eta, cohort)
    epochs = tuple(bracket.rungs[-1] for bracket in brackets for _ in range(bracket.trials))
    return () if set(epochs) == {max_epochs} else epochs


def _floor(number: float) -> int:
    return math.floor(number + _TOLERANCE)


def _climbing(rungs: tuple[int, ...], max_epochs: int, eta: float) -> tuple[int, ...]:
    if any(rung <= before for before, rung in pairwise(rungs)):
        rule = "eta must be so large that every rung of a bracket lies after the one before it (2 always is)"
        received = f"eta={eta:g}, max_epochs={max_epochs}: rungs at epochs {', '.join(map(str, rungs))}"
        raise SpecError([Problem(f"{rule}. Received: {received}", ("search", "scheduler", "eta"))])
    return rungs


def _check(max_epochs: int, eta: float) -> None:
    if max_epochs < 1:
        raise ValueError(f"max_epochs must be >= 1. Received: {max_epochs}")
    if eta <= 1:
        raise ValueError(f"eta must be > 1. Received: {eta:g}")
