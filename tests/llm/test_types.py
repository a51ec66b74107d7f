from __future__ import annotations

from voice_agent.llm.types import RequestDeadlines


def test_the_next_deadline() -> None:
    limits = RequestDeadlines(first_content_s=4, stall_s=2, total_s=10)
    assert limits.next(now=0, started=0, last=0, begun=False) == (4, "first_content")
    # reasoning chunks do not put the first content off
    assert limits.next(now=3, started=0, last=3, begun=False) == (1, "first_content")
    assert limits.next(now=5, started=0, last=4.5, begun=True) == (1.5, "stall")
    assert limits.next(now=9, started=0, last=9, begun=True) == (1, "total")
    assert limits.next(now=11, started=0, last=11, begun=True)[0] < 0
