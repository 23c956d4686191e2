"""What goes wrong in the callbacks of Ray Tune's, some of which Ray catches."""

from __future__ import annotations

from typing import Any

import pytest

from kerasweep.dispatch.tuner import _Here
from kerasweep.errors import StorageError


def test_what_ray_hides_is_raised_again_by_the_next_callback() -> None:
    feed: Any = object()
    here = _Here(feed)
    with here.told() as told:
        assert told is feed
    with pytest.raises(StorageError, match="lost"), here.told():
        raise StorageError("the disk is lost")
    reached = False
    with pytest.raises(StorageError, match="lost"), here.told():
        reached = True
    assert not reached
