"""Evidence about turns, recorded once and replayed under any policy (voice_agent/testing/replay).

A clip is decoded as in the real stream (voice_agent/stt/whisper_stream.py), on a virtual timeline: VAD windows every
32 ms, Whisper passes one after the other on an ``IncrementalDecoder``. A pass that starts at t is ready at t plus the
processor time it took (or a fixed time), so a busy machine changes little, and nothing waits.

One simplification: a clip is one utterance to Whisper even where a policy ends the turn in the middle of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from clips import RATE, Clip
from livekit.local_inference import EOT, VAD

from voice_agent.config import TurnConfig
from voice_agent.stt.decoder import WhisperEngine
from voice_agent.stt.frame_windows import WINDOW
from voice_agent.stt.incremental import IncrementalDecoder
from voice_agent.stt.open_turn import PRE_ROLL_WINDOWS
from voice_agent.stt.pass_scheduler import pass_is_due
from voice_agent.stt.pcm import to_float
from voice_agent.testing.replay.core import ACOUSTIC_AT_S
from voice_agent.testing.replay.recorded import SPEECH, WINDOW_S, Evidence
from voice_agent.turn import EndOfTurnModel
from voice_agent.turn.energy import EnergyDrop
from voice_agent.turn.turn_text import words_of

ACOUSTIC_SAMPLES = 19_200  # the input of v1-mini: 1.2 s at 16 kHz
LEAD_WINDOWS = 15  # silence before the clip, about 0.5 s
CONFIRM_SHARE = 0.45  # of a pass's time: what it takes to confirm a text that is known (voice_agent/stt/decoder.py)
TAIL_S = 6.0  # silence after it: longer than any policy waits


def hear(clip: Clip, engine: WhisperEngine, pass_s: float | None = None) -> tuple[Evidence, np.ndarray]:
    """The windows and passes of a clip, and the samples of the timeline. ``pass_s``: fixed time of a pass."""
    lead = np.zeros(LEAD_WINDOWS * WINDOW, np.int16)
    timeline = np.concatenate([lead, clip.pcm, np.zeros(int(TAIL_S * RATE), np.int16)])
    timeline = timeline[: len(timeline) // WINDOW * WINDOW]
    found = Evidence(clip.name, clip.kind, clip.end_s + len(lead) / RATE)
    vad, energy_drop = VAD(), EnergyDrop(TurnConfig().energy_drop_db)
    for i in range(0, len(timeline), WINDOW):
        window = np.ascontiguousarray(timeline[i : i + WINDOW])
        p = float(vad.predict(window))
        found.windows.append(((i + WINDOW) / RATE, p))
        if energy_drop.window(window, p > SPEECH):
            found.energy_drop.append(found.windows[-1][0])
    speech = [p > SPEECH for _, p in found.windows]
    start = next((i for i in range(1, len(speech)) if speech[i] and speech[i - 1]), None)
    if start is not None:
        _passes(found, to_float(timeline), speech, start, IncrementalDecoder(engine), pass_s)
    return found, timeline


def _passes(
    found: Evidence,
    timeline: np.ndarray,
    speech: Sequence[bool],
    start: int,
    decoder: IncrementalDecoder,
    pass_s: float | None,
) -> None:
    """Passes by the stream's rule: one starts when the last one has ended and there is enough new audio."""
    begin = max(0, start + 1 - PRE_ROLL_WINDOWS) * WINDOW
    here, covers = start + 1, -1.0  # windows so far; end of the audio that the last pass read
    ended = loud = found.windows[start][0]
    energy_drop = set(found.energy_drop)
    now = here * WINDOW_S
    seen = start
    took = 0.0
    while here <= len(speech):
        for i in range(seen, here):
            if speech[i]:
                ended = found.windows[i][0]
                loud = loud if ended in energy_drop else ended
        seen = here
        at = here * WINDOW_S
        paused = at > ended
        if not pass_is_due(at, ended, loud, covers, took):
            here += 1
            now = here * WINDOW_S
            continue
        began = time.process_time()
        tail = timeline[begin : here * WINDOW]
        speech_s = len(tail) / RATE - (at - ended) if paused or ended > loud else None
        heard = decoder.decode(tail, final=paused, speech_s=speech_s)
        confirmed = heard.hypothesis.guard == "confirmed"
        took = time.process_time() - began if pass_s is None else pass_s * (CONFIRM_SHARE if confirmed else 1.0)
        begin += heard.drop_samples
        now = max(now, at) + took
        covers = at - WINDOW_S if heard.hypothesis.guard == "hasty" else at
        found.passes.append((covers, now, heard.text))
        here = max(here, int(now / WINDOW_S + 1e-6))


def record(
    clip: Clip, engine: WhisperEngine, end_of_turn_model: EndOfTurnModel, eot: EOT, pass_s: float | None = None
) -> Evidence:
    """Everything a policy can be given about a clip: ``end_of_turn_model`` scores every text, ``eot`` every pause."""
    found, timeline = hear(clip, engine, pass_s)
    for _, _, text in found.passes:
        if text and words_of(text) not in found.scores:
            began = time.process_time()
            score = end_of_turn_model.score(text)
            found.scores[words_of(text)] = (score, time.process_time() - began)
    for ended, resumed in found.pauses:
        at = _acoustic_at(ended)
        if (resumed is None or resumed > at) and at * RATE <= len(timeline):
            piece = timeline[max(0, round(at * RATE) - ACOUSTIC_SAMPLES) : round(at * RATE)]
            found.acoustic[f"{ended:.3f}"] = float(eot.predict(np.ascontiguousarray(piece)))
    return found


def _acoustic_at(ended_s: float) -> float:
    """The end of the first window at which the detector runs the acoustic model."""
    windows = int(np.ceil((ended_s + ACOUSTIC_AT_S) / WINDOW_S - 1e-6))
    return windows * WINDOW_S
