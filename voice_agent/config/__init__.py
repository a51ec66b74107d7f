"""Settings: sections, their checks, and the sources they are read from; models by name.

Read ``setting`` (one setting and its checks), ``sections`` (all settings), ``sources`` (:func:`load`), ``variables``
(the environment), ``models`` (model name -> files).
"""

from __future__ import annotations

from .secret import Secret
from .sections import Config, sections
from .sections.ends import AudioConfig, LivekitConfig, RoomConfig, WebConfig
from .sections.latency import BudgetConfig, DebugConfig, DegradationConfig
from .sections.stt_llm_tts import AgentConfig, LlmConfig, MeterConfig, SttConfig, TtsConfig
from .sections.turn_taking import InterruptionConfig, TurnConfig
from .setting import setting
from .sources import FlagValue, load
from .variables import (
    ENV_FILE,
    ENV_PREFIX,
    cache_dir,
    child_environment,
    environment_default,
    environment_switch,
    environment_without_secrets,
    plain_environment,
    provider_key,
)

__all__ = [
    "ENV_FILE",
    "ENV_PREFIX",
    "AgentConfig",
    "AudioConfig",
    "BudgetConfig",
    "Config",
    "DebugConfig",
    "DegradationConfig",
    "FlagValue",
    "InterruptionConfig",
    "LivekitConfig",
    "LlmConfig",
    "MeterConfig",
    "RoomConfig",
    "Secret",
    "SttConfig",
    "TtsConfig",
    "TurnConfig",
    "WebConfig",
    "cache_dir",
    "child_environment",
    "environment_default",
    "environment_switch",
    "environment_without_secrets",
    "load",
    "plain_environment",
    "provider_key",
    "sections",
    "setting",
]
