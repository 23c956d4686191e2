"""From a dataset's name, a file or arrays to fixed splits, the facts a network needs, and a fingerprint."""

from kerasweep.data.arrays import IN_MEMORY
from kerasweep.data.base import Facts, Fold, SearchData, Split
from kerasweep.data.loading import load_folds, load_search, load_test
from kerasweep.data.preprocessing import Preprocessing, as_inputs, transform
from kerasweep.data.rows import Array, Rows

__all__ = [
    "IN_MEMORY",
    "Array",
    "Facts",
    "Fold",
    "Preprocessing",
    "Rows",
    "SearchData",
    "Split",
    "as_inputs",
    "load_folds",
    "load_search",
    "load_test",
    "transform",
]
