"""Delivery: from the winner of a search to a tested model in files that others can load.

Nothing here imports TensorFlow, Keras or scikit-learn before a function needs it.
"""

from kerasweep.delivery.assemble import assemble
from kerasweep.delivery.evaluate import baselines, evaluate
from kerasweep.delivery.export import check_formats, clear_drafts, compare, export
from kerasweep.delivery.prediction import predict
from kerasweep.delivery.promote import decide, headline_metric
from kerasweep.delivery.retrain import choose, lost_cohort, merged, retrain_cohort, spread
from kerasweep.delivery.scores import TEST_METRICS, class_probabilities, score

__all__ = [
    "TEST_METRICS",
    "assemble",
    "baselines",
    "check_formats",
    "choose",
    "class_probabilities",
    "clear_drafts",
    "compare",
    "decide",
    "evaluate",
    "export",
    "headline_metric",
    "lost_cohort",
    "merged",
    "predict",
    "retrain_cohort",
    "score",
    "spread",
]
