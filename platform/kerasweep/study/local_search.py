"""A search that needs neither Ray nor a pipeline file, and the refitting of its winner."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.data import SearchData
from kerasweep.delivery import retrain_cohort
from kerasweep.dispatch import HereSession, Work
from kerasweep.errors import StudyError
from kerasweep.models import import_tensorflow
from kerasweep.records import Status, Trial
from kerasweep.space import Space
from kerasweep.spec.parameters import FOUND_PARAMETER
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.budget import search_size
from kerasweep.study.environment import study_header
from kerasweep.study.events import Observer
from kerasweep.study.initial import check_initial, read_initial
from kerasweep.study.ledger import Watchers
from kerasweep.study.origin import Origin, models_for, mutable_of
from kerasweep.study.search import (
    Searched,
    SearchPlace,
    evolution_of,
    rates_of,
    run_search,
    search_schedule,
)
from kerasweep.study.settled import settle
from kerasweep.study.trainers import Trainers
from kerasweep.study.winner import assembled
from kerasweep.tracking import Tracker, resolve_uri
from kerasweep.training.inputs import inputs_of

if TYPE_CHECKING:
    import keras


class LocalSearch:
    """One search in this process.

    Args:
        spec: of the search.
        data: all rows it may see.
        builder: handed over as an object; None for one that the spec names.
        observer: told how it goes.
        tracking_uri: of the store that holds what its models' initial weights come from, if they come from somewhere.
    """

    def __init__(
        self, spec: PipelineSpec, data: SearchData, builder: Any, observer: Observer, tracking_uri: str = "auto"
    ) -> None:
        import_tensorflow()
        origin = Origin(Path.cwd(), builder=builder)
        settled = settle(spec, origin.directory, builder, images=inputs_of(spec, data).images)
        self._spec, self._mutable = settled.spec, mutable_of(settled.spec, settled.signature)
        taken = settled.signature.names if settled.signature else ()
        self._data = data
        self._observer = observer
        self._initial = read_initial(self._spec, resolve_uri(tracking_uri, Path.cwd()))
        self._models = models_for(self._spec, data, origin, None if self._initial is None else self._initial.weights)
        if self._initial is not None:
            check_initial(self._spec, self._models)
        self._session = HereSession()
        self._allocation = self._session.allocation(self._spec, search_size(self._spec), data)
        self._schedule = search_schedule(self._spec, self._allocation.cohort, rates_of(self._spec, taken))
        self._trainers = Trainers(
            models=self._models,
            allocation=self._allocation,
            find=Space(self._spec.space).found.get(FOUND_PARAMETER),
            evolution=evolution_of(self._spec, taken),
        )

    def run(self, tracker: Tracker) -> Searched:
        """Searches; the tracker is told of it."""
        spec, data = self._spec, self._data
        study = f"{spec.name}@{secrets.token_hex(4)}"
        tracker.start(study_header(study, spec, data, Path.cwd()))
        if self._initial is not None:
            tracker.log_summary({"initial_weights": self._initial.facts})
        trainer = self._trainers.of_search(self._schedule, len(data.folds))
        status = "failed"
        try:
            with tempfile.TemporaryDirectory(prefix="kerasweep-") as scratch:
                place = SearchPlace(self._session, self._allocation, Path(scratch), study)
                watchers = Watchers(tracker, self._observer)
                searched = run_search(spec, Work(trainer, data), place, watchers, self._mutable)
            status = "interrupted" if searched.interrupted else "finished"
        finally:
            tracker.end(status)
        return searched

    def refitted(self, best: Trial) -> keras.Model:
        """The best trial's configuration, trained on all rows for its best number of epochs."""
        spec, data = self._spec, self._data
        cohort, schedule = retrain_cohort(best, spec.training.fixed, 1, spec.search.seed, self._schedule)
        work = Work(self._trainers.plain(schedule), data)
        (outcome,) = self._session.train(work, (cohort,), self._allocation, merge=True)
        if outcome.status is Status.FAILED:
            raise StudyError(f"the best configuration must train on all rows. Received: {outcome.reason}")
        return assembled(spec, best, outcome.weights, self._models, data)
