"""Stock LiveKit Agents on the real-time timeline of ``voice-agent script``, for comparison.

Its own VAD and turn detection, a plain faster-whisper STT (one ``transcribe`` of the finished utterance), a plain
Piper TTS (Piper's own ``synthesize``), LiveKit's OpenAI plug-in. Only input and output are ours, so that it leaves the
same recording.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
from clips import read
from courtesy import heard_out
from faster_whisper import WhisperModel
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, inference, stt, tts, utils
from livekit.plugins import openai
from piper import PiperVoice

from voice_agent.audio.timeline import USER_RATE, Timeline
from voice_agent.clock import SYSTEM
from voice_agent.testing.harness.script_input import ScriptInput
from voice_agent.testing.harness.script_output import ScriptOutput


class PlainWhisper(stt.STT):
    """faster-whisper in its simplest use."""

    def __init__(self, path: str) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=2)

    def transcribe(self, pcm: np.ndarray) -> str:
        segments, _ = self._model.transcribe(
            pcm, language="en", beam_size=1, condition_on_previous_text=False, without_timestamps=True
        )
        return " ".join(segment.text.strip() for segment in segments)

    async def _recognize_impl(self, buffer: Any, *, language: Any = None, conn_options: Any = None) -> stt.SpeechEvent:
        frame = rtc.combine_audio_frames(buffer)
        if frame.sample_rate != USER_RATE:
            raise ValueError(f"{frame.sample_rate} Hz; Whisper wants {USER_RATE}")
        text = await asyncio.to_thread(self.transcribe, np.frombuffer(frame.data, np.int16).astype(np.float32) / 32768)
        data = stt.SpeechData(language="en", text=text)  # type: ignore[arg-type]
        return stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[data])


class PlainPiper(tts.TTS):
    """Piper in its simplest use."""

    def __init__(self, path: str) -> None:
        self.voice = PiperVoice.load(path)
        rate = self.voice.config.sample_rate
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=rate, num_channels=1)

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = APIConnectOptions()) -> tts.ChunkedStream:  # noqa: B008
        return _PiperStream(tts=self, input_text=text, conn_options=conn_options)


class _PiperStream(tts.ChunkedStream):
    async def _run(self, emitter: tts.AudioEmitter) -> None:
        plain = cast(PlainPiper, self._tts)
        emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=plain.sample_rate, num_channels=1, mime_type="audio/pcm"
        )
        pieces = iter(plain.voice.synthesize(self._input_text))
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            emitter.push(piece.audio_int16_bytes)
        emitter.flush()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whisper", required=True)
    parser.add_argument("--voice", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--turn", choices=("vad", "mini"), default="vad")
    parser.add_argument("--clips", type=Path, required=True, help='JSON: [{"wav": path, "end_s": seconds}]')
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--settle", type=float, default=0.7)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    vad = inference.VAD()
    whisper, piper = PlainWhisper(options.whisper), PlainPiper(options.voice)
    whisper.transcribe(np.zeros(USER_RATE, np.float32))
    list(piper.voice.synthesize("hello there"))
    detection: Any = "vad" if options.turn == "vad" else inference.TurnDetector(version="v1-mini")
    session: AgentSession[None] = AgentSession(
        vad=vad,
        stt=stt.StreamAdapter(stt=whisper, vad=vad),
        llm=openai.LLM(model="simulated-70b", base_url=options.base_url, api_key="none"),
        tts=piper,
        turn_handling={"turn_detection": detection},
    )
    with Timeline(options.record) as timeline:
        microphone = ScriptInput(timeline)
        loudspeaker = ScriptOutput(timeline, on_audible=lambda at: None, on_gaps=lambda count, total_ms: None)
        session.input.audio, session.output.audio = microphone, loudspeaker
        await session.start(Agent(instructions="You are a helpful voice assistant. Be brief."))
        timeline.start()
        feeding = asyncio.create_task(microphone.feed())
        await asyncio.sleep(0.5)
        for item in json.loads(options.clips.read_text()):
            start = microphone.say(read(Path(item["wav"])))
            await heard_out(
                timeline.started_at + start / USER_RATE + item["end_s"],
                SYSTEM.now,
                lambda: loudspeaker.last_audible_end,
                lambda: microphone.speaking or loudspeaker.playing or session.agent_state in ("thinking", "speaking"),
                options.settle,
            )
        feeding.cancel()
    print(json.dumps({"worst_lag_ms": round(microphone.worst_lag_s * 1000, 1), "threads": threading.active_count()}))
    os._exit(0)  # the recording is written; what the session still says does not matter


if __name__ == "__main__":
    asyncio.run(main())
