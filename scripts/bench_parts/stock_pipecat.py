"""Stock Pipecat on the real-time timeline of ``voice-agent script``, for comparison.

Its own Silero VAD, Smart Turn, Whisper, OpenAI and Piper services in its default pipeline. It runs in a virtual
environment of its own; of this project it imports only the timeline, so that it leaves the same recording.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
from courtesy import heard_out
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.piper.tts import PiperTTSService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from voice_agent.audio.timeline import AUDIBLE, USER_RATE, Timeline
from voice_agent.clock import SYSTEM

FRAME, GRID = 160, 512  # 10 ms; clips begin on a VAD window, as in voice_agent.testing.harness.script_input
OUTPUT_RATE = 22_050  # the voice's own


class Microphone(BaseInputTransport):
    """Recorded speech in real time."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(TransportParams(audio_in_enabled=True, audio_in_sample_rate=USER_RATE))
        self.ready = asyncio.Event()
        self._timeline = timeline
        self._speech, self._speech_at, self._position = np.zeros(0, np.int16), 0, 0

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.ready.set()

    def say(self, pcm: np.ndarray) -> int:
        self._speech, self._speech_at = pcm, (self._position // GRID + 2) * GRID
        self._timeline.place_user(self._speech_at, pcm)
        return self._speech_at

    @property
    def speaking(self) -> bool:
        return self._position < self._speech_at + len(self._speech)

    async def feed(self) -> None:
        """10 ms frames, each when its last sample has been spoken; after a stall the missed ones follow at once."""
        while True:
            wait = self._timeline.started_at + (self._position + FRAME) / USER_RATE - SYSTEM.now()
            if wait > 0:
                await asyncio.sleep(wait)
            frame = np.zeros(FRAME, np.int16)
            offset = self._position - self._speech_at
            begin = max(0, -offset)
            piece = self._speech[max(0, offset) : max(0, offset + FRAME)][: FRAME - begin]
            frame[begin : begin + len(piece)] = piece
            await self.push_audio_frame(InputAudioRawFrame(frame.tobytes(), USER_RATE, 1))
            self._position += FRAME


class Loudspeaker(BaseOutputTransport):
    """A sink that plays in real time."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_sample_rate=OUTPUT_RATE))
        self._timeline = timeline
        self._until = 0.0
        self.last_audible_end = 0.0

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: Any) -> bool:
        pcm = np.frombuffer(frame.audio, np.int16)
        now = SYSTEM.now()
        begin = max(now, self._until)
        self._until = begin + len(pcm) / frame.sample_rate
        if len(pcm) and int(np.abs(pcm.astype(np.int32)).max()) > AUDIBLE:
            self.last_audible_end = self._until
        self._timeline.place_agent(begin, pcm, frame.sample_rate)
        # A device takes one buffer at a time.
        await asyncio.sleep(max(0.0, self._until - now - 0.002))
        return True


def read(path: str) -> np.ndarray:
    """The bench writes its clips as mono, 16 kHz, 16 bit."""
    with wave.open(path) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), np.int16)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whisper", required=True)
    parser.add_argument("--voice", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--clips", type=Path, required=True, help='JSON: [{"wav": path, "end_s": seconds}]')
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--settle", type=float, default=1.5)
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    stt = WhisperSTTService(
        device="cpu",
        compute_type="int8",
        settings=WhisperSTTService.Settings(model=options.whisper, no_speech_prob=0.6),
    )
    tts = PiperTTSService(
        download_dir=options.voice.parent, settings=PiperTTSService.Settings(voice=options.voice.stem)
    )
    # Warm, as the others are. No public name leads to the two models.
    list(tts._voice.synthesize("hello there"))
    list(stt._model.transcribe(np.zeros(USER_RATE, np.float32))[0])
    llm = OpenAILLMService(
        api_key="none",
        base_url=options.base_url,
        settings=OpenAILLMService.Settings(
            model="simulated-70b", system_instruction="You are a helpful voice assistant. Be brief."
        ),
    )
    user_params = LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    pair = LLMContextAggregatorPair(LLMContext(), user_params=user_params)
    with Timeline(options.record) as timeline:
        microphone, loudspeaker = Microphone(timeline), Loudspeaker(timeline)
        worker = PipelineWorker(
            Pipeline([microphone, stt, pair.user(), llm, tts, loudspeaker, pair.assistant()]),
            params=PipelineParams(audio_in_sample_rate=USER_RATE, audio_out_sample_rate=OUTPUT_RATE),
            idle_timeout_secs=None,
            enable_rtvi=False,
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        await microphone.ready.wait()
        await asyncio.sleep(1)
        timeline.start()
        feeding = asyncio.create_task(microphone.feed())
        await asyncio.sleep(0.5)
        for item in json.loads(options.clips.read_text()):
            start = microphone.say(read(item["wav"]))
            await heard_out(
                timeline.started_at + start / USER_RATE + item["end_s"],
                SYSTEM.now,
                lambda: loudspeaker.last_audible_end,
                lambda: microphone.speaking or loudspeaker.last_audible_end > SYSTEM.now(),
                options.settle,
            )
        feeding.cancel()
        running.cancel()
    os._exit(0)  # the recording is written


asyncio.run(main())
