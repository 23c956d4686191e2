"""Who proposes: the searchers that a pipeline file can name, with their options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, StrictBool, StrictFloat, StrictInt, Tag, model_validator

from kerasweep.errors import Problem
from kerasweep.spec.base import Frozen, RuleError, broken, name_of, named

Share = Annotated[StrictFloat, Field(ge=0, le=1)]

# Of the acquisition functions of gp and forest.
Xi = Annotated[
    StrictFloat | None,
    Field(
        ge=0,
        description="Standard deviations of improvement that ei and pi ask for; null: 0.001 and 0.05; not for lcb.",
    ),
]
Kappa = Annotated[
    StrictFloat | None,
    Field(ge=0, description="Standard deviations that lcb goes below the mean; null: 1.96; not for ei and pi."),
]


class RandomSearch(Frozen):
    """Uniform in the declared scales (Bergstra and Bengio 2012)."""

    name: Literal["random"] = "random"


class SobolSearch(Frozen):
    """A scrambled Sobol sequence: more even than random draws (Sobol 1967, Owen 1998)."""

    name: Literal["sobol"] = "sobol"


class GridSearch(Frozen):
    """All combinations; floats and long integer ranges by ``steps`` evenly spaced values."""

    name: Literal["grid"] = "grid"
    steps: StrictInt = Field(5, ge=1, description="Values of each range.")


class TpeSearch(Frozen):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate, grouped for conditions."""

    name: Literal["tpe"] = "tpe"
    startup: StrictInt = Field(10, ge=1, description="Random trials before the model is used.")
    candidates: StrictInt = Field(
        24, ge=1, description="Points drawn from l(x), of which the best by l(x)/g(x) is proposed."
    )


class HyperoptSearch(Frozen):
    """Hyperopt's tree-structured Parzen estimator (Bergstra et al. 2011), or its annealing."""

    name: Literal["hyperopt"] = "hyperopt"
    algorithm: Literal["tpe", "anneal"] = Field("tpe", description="The model, or random moves around good trials.")
    startup: StrictInt | None = Field(None, ge=1, description="Random trials before the model; null: 20; tpe only.")
    candidates: StrictInt | None = Field(None, ge=1, description="Points drawn from l(x); null: 24; tpe only.")
    gamma: StrictFloat | None = Field(
        None, gt=0, lt=1, description="Of n trials, gamma * sqrt(n) count as good, 25 at most; null: 0.25; tpe only."
    )

    @model_validator(mode="after")
    def _options_of_tpe(self) -> HyperoptSearch:
        problems = [
            Problem(f"{key} is for the algorithm tpe only. Received: algorithm={self.algorithm}", (key,))
            for key in ("startup", "candidates", "gamma")
            if self.algorithm != "tpe" and getattr(self, key) is not None
        ]
        if problems:
            raise RuleError(*problems)
        return self


class GpSearch(Frozen):
    """A Gaussian process and an acquisition function (Jones et al. 1998), by scikit-optimize."""

    name: Literal["gp"] = "gp"
    acquisition: Literal["hedge", "ei", "pi", "lcb"] = Field(
        "hedge", description="Expected or probable improvement, lower confidence bound, or chosen anew by their gains."
    )
    startup: StrictInt = Field(10, ge=1, description="Random trials before the model is used.")
    xi: Xi = None
    kappa: Kappa = None

    @model_validator(mode="after")
    def _options_of_the_acquisition(self) -> GpSearch:
        _refuse_idle(self.acquisition, self.xi, self.kappa)
        return self


class ForestSearch(Frozen):
    """Extra trees or a random forest, and an acquisition function (Hutter et al. 2011), by scikit-optimize."""

    name: Literal["forest"] = "forest"
    trees: Literal["extra_trees", "random_forest"] = Field("extra_trees", description="How splits are found.")
    acquisition: Literal["ei", "pi", "lcb"] = Field(
        "ei", description="Expected or probable improvement, or lower confidence bound."
    )
    startup: StrictInt = Field(10, ge=1, description="Random trials before the model is used.")
    xi: Xi = None
    kappa: Kappa = None

    @model_validator(mode="after")
    def _options_of_the_acquisition(self) -> ForestSearch:
        _refuse_idle(self.acquisition, self.xi, self.kappa)
        return self


def _refuse_idle(acquisition: str, xi: float | None, kappa: float | None) -> None:
    received = f"Received: acquisition={acquisition}"
    if xi is not None and acquisition == "lcb":
        raise broken(f"xi is for the acquisitions ei, pi and hedge only. {received}", "xi")
    if kappa is not None and acquisition in ("ei", "pi"):
        raise broken(f"kappa is for the acquisitions lcb and hedge only. {received}", "kappa")


class SpearmintSearch(Frozen):
    """Gaussian processes averaged over their hyperparameters (Snoek et al. 2012)."""

    name: Literal["spearmint"] = "spearmint"
    startup: StrictInt = Field(5, ge=1, description="Sobol points before the model is used.")
    samples: StrictInt = Field(10, ge=1, description="Hyperparameters drawn by slice sampling.")
    fantasies: StrictInt = Field(10, ge=1, description="Outcomes imagined for trials that are out.")
    per_second: StrictBool = Field(False, description="Expected improvement per second, as far as seconds are told.")


class KerasTunerSearch(Frozen):
    """The oracles of KerasTuner."""

    name: Literal["keras_tuner"] = "keras_tuner"
    oracle: Literal["random", "bayesian", "hyperband"] = Field("bayesian", description="Which one.")
    startup: StrictInt | None = Field(
        None, ge=1, description="Random trials before the model is used; null: three a parameter; bayesian only."
    )
    beta: StrictFloat = Field(2.6, ge=0, description="Standard deviations below the mean; bayesian only.")
    factor: StrictInt = Field(3, ge=2, description="The paper's reduction factor; hyperband only.")

    @model_validator(mode="after")
    def _options_of_the_oracle(self) -> KerasTunerSearch:
        owners = {"startup": "bayesian", "beta": "bayesian", "factor": "hyperband"}
        problems = [
            Problem(f"{key} is for the oracle {owner} only. Received: oracle={self.oracle}", (key,))
            for key, owner in owners.items()
            # Not whether it is set: a study's record, which is read again for exports, spells every option out.
            if self.oracle != owner and getattr(self, key) != type(self).model_fields[key].default
        ]
        if problems:
            raise RuleError(*problems)
        return self


class EvolutionSearch(Frozen):
    """A genetic algorithm: tournaments, crossover, mutation by parameter type, by DEAP."""

    name: Literal["evolution"] = "evolution"
    population: StrictInt = Field(20, ge=2, description="Individuals of a generation; the first one is random.")
    tournament: StrictInt = Field(3, ge=1, description="Individuals of which the best becomes a parent.")
    crossover: Share = Field(0.5, description="How likely two parents mix.")
    mutation: Share = Field(0.02, description="How likely a child's parameter changes.")


class CmaesSearch(Frozen):
    """Covariance matrix adaptation (Hansen and Ostermeier 2001) on numbers, by the package cmaes."""

    name: Literal["cmaes"] = "cmaes"
    startup: StrictInt = Field(0, ge=0, description="Random trials before the model is used.")
    sigma: StrictFloat | None = Field(
        None, gt=0, le=1, description="First standard deviation in the unit cube; null: a sixth, or from known trials."
    )
    population: StrictInt | None = Field(None, ge=4, description="Trials of a generation; null: 4 + 3 ln(dimensions).")


class BohbSearch(Frozen):
    """Kernel densities of good and bad trials at the highest rung that has enough (Falkner et al. 2018)."""

    name: Literal["bohb"] = "bohb"
    startup: StrictInt | None = Field(
        None, ge=2, description="The paper's N_min; a rung has a model from two trials more on; null: parameters + 1."
    )
    top: StrictFloat = Field(0.15, gt=0, lt=1, description="Share of a rung's trials that count as good.")
    candidates: StrictInt = Field(64, ge=1, description="Points drawn from the good density.")
    random: Share = Field(1 / 3, description="Share of random trials.")
    bandwidth_factor: StrictFloat = Field(3.0, gt=0, description="Widens the densities that points are drawn from.")
    min_bandwidth: StrictFloat = Field(1e-3, ge=1e-6, le=1, description="Of the densities, in the unit cube.")


class ZoomSearch(Frozen):
    """Random search in rounds, each in narrower ranges around the best trials so far."""

    name: Literal["zoom"] = "zoom"
    rounds: StrictInt = Field(3, ge=2, description="The first is as wide as the space.")
    trials: StrictInt = Field(20, ge=2, description="Of each round but the last, which takes what is left.")
    top: StrictInt = Field(5, ge=1, description="The best trials that the next round's ranges hold.")
    margin: StrictFloat = Field(0.1, ge=0, le=1, description="What a range reaches beyond them, of the one before.")

    @model_validator(mode="after")
    def _some_are_left_out(self) -> ZoomSearch:
        if self.top >= self.trials:
            received = f"top={self.top}, trials={self.trials}"
            raise broken(f"top < trials must hold, or no round narrows anything. Received: {received}", "top")
        return self


class AutoSearch(Frozen):
    """A model of learning curves over configuration and epoch, for the scheduler auto."""

    name: Literal["auto"] = "auto"
    explore: Share = Field(0.2, description="Share of trials that ask no model.")


SearcherSpec = Annotated[
    Annotated[RandomSearch, Tag("random")]
    | Annotated[SobolSearch, Tag("sobol")]
    | Annotated[GridSearch, Tag("grid")]
    | Annotated[TpeSearch, Tag("tpe")]
    | Annotated[HyperoptSearch, Tag("hyperopt")]
    | Annotated[GpSearch, Tag("gp")]
    | Annotated[ForestSearch, Tag("forest")]
    | Annotated[SpearmintSearch, Tag("spearmint")]
    | Annotated[KerasTunerSearch, Tag("keras_tuner")]
    | Annotated[EvolutionSearch, Tag("evolution")]
    | Annotated[CmaesSearch, Tag("cmaes")]
    | Annotated[BohbSearch, Tag("bohb")]
    | Annotated[ZoomSearch, Tag("zoom")]
    | Annotated[AutoSearch, Tag("auto")],
    Discriminator(name_of),
    BeforeValidator(named),
]
