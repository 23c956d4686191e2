"""Searchers: ask for configurations, tell how they went."""

from kerasweep.search.base import Searcher
from kerasweep.search.registry import by_structure, make_searcher

__all__ = ["Searcher", "by_structure", "make_searcher"]
