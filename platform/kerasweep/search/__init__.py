"""Searchers: ask for configurations, tell how they went."""

from kerasweep.search.base import Searcher
from kerasweep.search.registry import make_searcher

__all__ = ["Searcher", "make_searcher"]
