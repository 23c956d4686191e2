"""The one source of randomness: (study seed, trial, purpose) -> seed."""

from __future__ import annotations

import hashlib


def derive(study_seed: int, *path: int | str) -> int:
    """A 31-bit seed that depends on the study's seed and on what it is for.

    Args:
        study_seed: ``search.seed`` of the spec.
        path: what the seed is for, e.g. ``("trial", 17)`` or ``("searcher",)``. Different paths give
            independent seeds; the same path gives the same seed on every machine and Python.

    Returns:
        An integer in ``[0, 2**31)``, which every library accepts as a seed.
    """
    text = "/".join(str(part) for part in (study_seed, *path))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 33
