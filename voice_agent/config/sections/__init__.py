"""The sections of the configuration, one file an area, and :class:`Config`, which holds them all.

To add a setting, add one line to its section. The file key ``[section] key``, the variable
``VOICE_AGENT_SECTION_KEY``, the flag ``section.key=value``, the checks and the row in ``docs/configuration.md`` follow
from that line.
"""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass, field

from ..setting import Section
from .ends import AudioConfig, LivekitConfig, RoomConfig, WebConfig
from .latency import BudgetConfig, DebugConfig, DegradationConfig
from .stt_llm_tts import AgentConfig, LlmConfig, MeterConfig, SttConfig, TtsConfig
from .turn_taking import InterruptionConfig, TurnConfig


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. ``Config()`` is the defaults; :func:`voice_agent.config.load` reads the other sources."""

    stt: SttConfig = field(default_factory=SttConfig)
    turn: TurnConfig = field(default_factory=TurnConfig)
    interruption: InterruptionConfig = field(default_factory=InterruptionConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    meter: MeterConfig = field(default_factory=MeterConfig)
    tts: TtsConfig = field(default_factory=TtsConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
    web: WebConfig = field(default_factory=WebConfig)
    livekit: LivekitConfig = field(default_factory=LivekitConfig)


@functools.cache
def sections() -> dict[str, type[Section]]:
    """The sections of :class:`Config` by name."""
    return typing.get_type_hints(Config)
