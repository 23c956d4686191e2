"""Why a member cannot train together with others."""

from __future__ import annotations


class Unstackable(Exception):
    """A model has a part without a form for many members; the message names it. Never leaves the cohort trainer, which
    trains such a member with ``Model.fit`` and says so."""
