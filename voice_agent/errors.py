"""Every error this package raises on purpose, in one tree.

::

    VoiceAgentError                  base: catch this to catch everything below
    ├── UsageError                   an invalid command line or call
    ├── ConfigError                  an unknown key or an invalid value
    ├── AudioError                   a recording or an audio device that cannot be used
    ├── ModelError                   a model that cannot be found, fetched or loaded
    ├── SpeechError                  speech recognition or synthesis failed while running
    ├── ToolServerError              an MCP server that does not start or answer
    ├── DependencyError              an installed library lacks what this package is built upon
    └── ProviderError                the language-model provider failed
        ├── ProviderAuthError        the key is missing, wrong or not allowed
        ├── ProviderModelError       the provider does not serve that model
        ├── RateLimitedError         (retryable) too many requests; ``retry_after_s``
        ├── ProviderUnavailableError (retryable) no connection, or a 5xx answer
        ├── ProviderStreamError      (retryable) the stream broke or made no sense
        └── DeadlineError            (retryable) no answer in time; ``deadline_s``

A message says what happened and what to do next, and contains no secret. ``retryable``: whether the same request may
succeed if it is sent again.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AudioError",
    "ConfigError",
    "DeadlineError",
    "DependencyError",
    "ModelError",
    "ProviderAuthError",
    "ProviderError",
    "ProviderModelError",
    "ProviderStreamError",
    "ProviderUnavailableError",
    "RateLimitedError",
    "SpeechError",
    "ToolServerError",
    "UsageError",
    "VoiceAgentError",
]


class VoiceAgentError(Exception):
    """Base of every deliberate error. Its message is for the user."""

    retryable: ClassVar[bool] = False


class UsageError(VoiceAgentError):
    """An invalid command line or call."""


class ConfigError(VoiceAgentError):
    """An unknown configuration key, or an invalid value."""


class DependencyError(VoiceAgentError):
    """An installed library is of a version that lacks what this package is built upon; the message names one that
    has it."""


class AudioError(VoiceAgentError):
    """A recording or an audio device that cannot be used."""


class ModelError(VoiceAgentError):
    """A model that cannot be found, fetched or loaded."""


class SpeechError(VoiceAgentError):
    """Speech recognition or synthesis failed while running."""


class ToolServerError(VoiceAgentError):
    """An MCP server that does not start or answer."""


class ProviderError(VoiceAgentError):
    """The language-model provider failed; the subclasses tell how."""


class ProviderAuthError(ProviderError):
    """The provider's key is missing, wrong, or not allowed to do this."""


class ProviderModelError(ProviderError):
    """The provider does not serve the model that was asked for."""


class RateLimitedError(ProviderError):
    """Too many requests. ``retry_after_s``: the wait in seconds that the provider asks for; None if it names none."""

    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProviderUnavailableError(ProviderError):
    """The provider could not be reached, or answered with a 5xx status."""

    retryable: ClassVar[bool] = True


class ProviderStreamError(ProviderError):
    """The provider's stream ended early or could not be parsed."""

    retryable: ClassVar[bool] = True


class DeadlineError(ProviderError):
    """The provider did not answer in time. ``deadline_s``: the limit in seconds."""

    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, deadline_s: float) -> None:
        super().__init__(message)
        self.deadline_s = deadline_s
