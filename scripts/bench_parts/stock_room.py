"""Stock LiveKit Agents as a room worker, with the plain Whisper and Piper of ``stock_livekit.py``: the yardstick.

As LiveKit's examples have it: a process a call, one kept ready, models loaded in each. Address and key of the server
come from LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET; the rest from VOICE_AGENT_BENCH, a JSON object.
BENCH_LEDGER: a file for the rows of our ledger, which is attached to this session as to any other.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # job processes import this file by its path
sys.path.append(str(Path(__file__).parents[2]))  # for the ledger only: no stage of ours is in this agent

import numpy as np
from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    JobExecutorType,
    JobProcess,
    cli,
    inference,
    stt,
)
from livekit.agents.voice import room_io
from livekit.plugins import openai
from stock_livekit import PlainPiper, PlainWhisper

from voice_agent.budget.attach import attach
from voice_agent.budget.export import JsonlWriter
from voice_agent.budget.turn_verdict import Budget

RATE = 16_000
options: dict[str, Any] = json.loads(os.environ.get("VOICE_AGENT_BENCH", "{}"))


def warm(process: JobProcess) -> None:
    """Load the models before a call comes: LiveKit's ``prewarm``."""
    whisper, piper = PlainWhisper(options["whisper"]), PlainPiper(options["voice"])
    whisper.transcribe(np.zeros(RATE, np.float32))
    list(piper.voice.synthesize("hello there"))
    process.userdata.update(stt=whisper, tts=piper)


def idle() -> float:
    """The load that is reported to LiveKit."""
    return 0.0


server = AgentServer(
    job_executor_type=JobExecutorType.PROCESS,
    num_idle_processes=1,
    port=0,
    setup_fnc=warm,
    initialize_process_timeout=60,
    # The benchmark shows what happens with too many calls; a server sends none to a worker with a load of 0.7.
    load_threshold=float("inf"),
    load_fnc=idle,
)


@server.rtc_session(agent_name=options.get("agent_name", ""))
async def entry(ctx: JobContext) -> None:
    vad = inference.VAD()
    session: AgentSession[None] = AgentSession(
        vad=vad,
        stt=stt.StreamAdapter(stt=ctx.proc.userdata["stt"], vad=vad),
        llm=openai.LLM(model="simulated-70b", base_url=options["base_url"], api_key="none"),
        tts=ctx.proc.userdata["tts"],
        turn_handling={"turn_detection": "vad"},
    )
    if ledger := os.environ.get("BENCH_LEDGER"):
        attach(session, on_turn=JsonlWriter(Path(ledger), Budget()).write)
    await session.start(
        Agent(instructions="You are a helpful voice assistant. Be brief."),
        room=ctx.room,
        room_options=room_io.RoomOptions(audio_input=room_io.AudioInputOptions(sample_rate=RATE)),
    )


if __name__ == "__main__":
    cli.run_app(server)
