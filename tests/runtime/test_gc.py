from __future__ import annotations

import gc

import pytest

from voice_agent.runtime.gc import startup_objects_frozen


class Loop:
    """Only a collection that looks at it can free it."""

    def __init__(self) -> None:
        self.me = self


def test_a_collection_does_not_look_at_what_was_there_before_the_call() -> None:
    before = Loop()
    try:
        with startup_objects_frozen():
            assert not any(one is before for one in gc.get_objects())
            during = Loop()
            assert any(one is during for one in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(one is before for one in gc.get_objects())


def test_also_when_the_call_fails() -> None:
    with pytest.raises(OSError, match="no device"), startup_objects_frozen():
        raise OSError("no device")
    assert gc.get_freeze_count() == 0
