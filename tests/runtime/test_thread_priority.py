from __future__ import annotations

import os
import sys
import threading

import pytest

from voice_agent.runtime.thread_priority import NICENESS, lower_priority


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a priority of its own")
@pytest.mark.parametrize("niceness", [0, NICENESS + 7])
def test_only_the_calling_thread_changes_and_its_priority_never_rises(niceness: int) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    before = max(mine, niceness)
    theirs: list[int] = []

    def work() -> None:
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, before)
        lower_priority()
        theirs.append(os.getpriority(os.PRIO_PROCESS, me))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert theirs == [max(before, NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
