"""Population based bandits within a cohort."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerasweep.records import Direction, Params, Standing
from kerasweep.scheduling.drift import DriftingProcess
from kerasweep.scheduling.pbt import Truncation
from kerasweep.scheduling.ranking import value_at
from kerasweep.seeds import derive

# The newest stretches that a process is fitted to: more make a decision slow, and the oldest say least.
_MOST = 200

# Gains are cut off so many standard deviations from the middle, as in the authors' code.
_FARTHEST = 2.0

# Standard deviations between the quartiles of a normal distribution.
_QUARTILES = 1.349

# Beyond this a value is as bad as any, and its square is still a number.
_HUGE = 1e100

# What a beginning explains is estimated as if so many more stretches spoke against it: a few prove little.
_AGAINST = 20

# Configurations that are drawn for the members of a program to choose from.
_DRAWN = 250


@dataclass(frozen=True)
class PopulationBandits(Truncation):
    """Population based bandits: what is copied gets new values by a Gaussian process (Parker-Holder et al. 2020).

    Who copies whom is decided as in population-based training. The new values of numbers are those that promise the
    greatest gain over the next interval; other values are those of the copied member.

    What is learned from are stretches: a member's numbers during one interval, and what its objective gained from the
    state in which it began it, its own or the one that it had just copied. (Before the first epoch there is no value;
    the first stretch counts from its end.) A stretch in which a member failed, or that ended in a value that is not
    finite, gained least. Only stretches of the same program are compared. Gains shrink as training goes on, and those
    who are behind gain more, whatever their numbers are. So a gain is standardised within its interval, and what the
    value at the stretch's beginning, standardised likewise, explains of it by one line through all stretches is taken
    off.

    A Gaussian process over numbers and time (``DriftingProcess``), fitted to that, says what to expect of each of
    some hundred random configurations and of those of the copied members in the interval to come. The members choose
    one after the other that with the highest upper confidence bound, mean + sqrt(beta) standard deviations; where
    others are about to train, those that go on as well as those that have chosen, the deviation is smaller (Desautels
    et al. 2014), so that they spread.

    Source: Parker-Holder, Nguyen, Roberts: Provably Efficient Online Hyperparameter Optimization with Population-Based
    Bandits, NeurIPS 2020; beta as in the authors' code, where the value at the beginning is one more input instead.
    """

    def explored(
        self, epoch: int, members: Mapping[int, Standing], living: frozenset[int], sources: Mapping[int, int]
    ) -> Mapping[int, Params]:
        chosen: dict[int, Params] = {}
        by_program: dict[Hashable, list[int]] = {}
        for number, source in sources.items():
            by_program.setdefault(self._program(members[source].params), []).append(number)
        stretches = list(self._stretches(epoch, members)) if sources else []
        for program, copying in by_program.items():
            own = [stretch for stretch in stretches if stretch.program == program]
            others = [members[number].params for number in sorted(living - sources.keys())]
            going_on = [params for params in others if self._program(params) == program]
            started = [members[sources[number]].params for number in sorted(copying)]
            with threadpool_limits(1, "blas"):  # small matrices, for which threads cost more than they gain
                values = self._chosen(epoch, own, going_on, started)
            chosen |= dict(zip(sorted(copying), values, strict=True))
        return chosen

    def _chosen(
        self, epoch: int, stretches: Sequence[_Stretch], going_on: Sequence[Params], started: Sequence[Params]
    ) -> list[Params]:
        """The values of members of one program that copy.

        Args:
            epoch: as in ``decide``.
            stretches: of the program.
            going_on: parameters of its members that do not copy.
            started: parameters of the copied member, for each that copies.
        """
        names = self.exploration.ranges(started[0])
        if not names:
            return [self.exploration.steered(params) for params in started]
        newest = sorted(stretches, key=lambda stretch: stretch.interval)[-_MOST:]
        process = DriftingProcess.fitted(
            self._points(names, [stretch.params for stretch in newest]),
            np.array([stretch.interval for stretch in newest], dtype=float),
            _worth(newest),
        )
        pool = [*self._drawn(epoch, names, started[0]), *started]
        beliefs = process.beliefs(
            self._points(names, pool), epoch // self.interval + 1, pending=self._points(names, going_on)
        )
        optimism = math.sqrt(0.2 + max(0.0, math.log(0.4 * max(1, len(newest)))))
        values: list[Params] = []
        for params in started:
            best = pool[beliefs.choose(optimism)]
            values.append({**self.exploration.steered(params), **{name: best[name] for name in names}})
        return values

    def _drawn(self, epoch: int, names: Sequence[str], params: Params) -> Iterator[Params]:
        """Values from the space, uniform in their scales, that need no other program than ``params``."""
        rng = np.random.default_rng(derive(self.seed, "pb2", epoch))
        axes = self.exploration.space.axes
        for row in rng.random((_DRAWN, len(names))).tolist():
            yield {
                name: self.exploration.admitted(name, params[name], axes[name].at(unit))
                for name, unit in zip(names, row, strict=True)
            }

    def _points(self, names: Sequence[str], configurations: Sequence[Params]) -> NDArray[np.float64]:
        axes = self.exploration.space.axes
        rows = [[axes[name].coordinate(params[name]) for name in names] for params in configurations]
        return np.array(rows, dtype=float).reshape(-1, len(names))

    def _program(self, params: Params) -> Hashable:
        return frozenset(self.exploration.program(params).items())

    def _stretches(self, epoch: int, members: Mapping[int, Standing]) -> Iterator[_Stretch]:
        """All that is known up to an epoch, in an order that does not depend on that of ``members``."""
        sign = 1 if self.objective.direction is Direction.MINIMIZE else -1
        for number in sorted(members):
            standing = members[number]
            sources = {past.epoch: past.source for past in standing.takeovers}
            for end in range(self.interval, epoch + 1, self.interval):
                start = end - self.interval
                begun = max(start, 1)
                before = sign * value_at(begun, members[sources.get(start, number)])
                seen = standing.values[begun:end]
                whole = len(seen) == end - begun > 0
                fails = standing.failed and start <= len(standing.values) < end
                if not math.isfinite(before) or not (whole or fails):
                    continue
                gain = before - sign * seen[-1] if whole else -math.inf
                params = next((past.params for past in standing.takeovers if past.epoch >= end), standing.params)
                yield _Stretch(self._program(params), params, end // self.interval, before, gain)


@dataclass(frozen=True)
class _Stretch:
    """What a member's parameters did over an interval.

    Attributes:
        program: of the parameters.
        params: of the member.
        interval: 1 for the first one.
        before: cost at its beginning.
        gain: by how much the cost fell; not finite if it was lost.
    """

    program: Hashable
    params: Params
    interval: int
    before: float
    gain: float


def _worth(stretches: Sequence[_Stretch]) -> NDArray[np.float64]:
    """What the gain of each stretch is worth beside the others, ``(n,)``; ``stretches`` come by interval."""
    gains, befores = [], []
    for _, group in groupby(stretches, key=lambda stretch: stretch.interval):
        together = list(group)
        gains.append(_scores([stretch.gain for stretch in together]))
        befores.append(_scores([stretch.before for stretch in together]))
    if not gains:
        return np.zeros(0)
    gain, before = np.concatenate(gains), np.concatenate(befores)
    return gain - before * (before @ gain) / (before @ before + _AGAINST)


def _scores(values: Sequence[float]) -> NDArray[np.float64]:
    """Distances from the median in standard deviations, these by the quartiles, which one wild value does not move.

    What is not finite is as far below as can be.
    """
    is_finite = np.isfinite(values)
    numbers = np.clip(np.where(is_finite, values, -math.inf), -_HUGE, _HUGE)
    finite = numbers[is_finite]
    if not len(finite):
        return np.zeros(len(numbers))
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    deviation = (high - low) / _QUARTILES or finite.std() or 1.0
    scores: NDArray[np.float64] = np.clip((numbers - middle) / deviation, -_FARTHEST, _FARTHEST)
    return scores
