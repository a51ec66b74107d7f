"""The type of audio samples in this package, and the frame key of their capture time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]

CAPTURED_AT = "voice_agent.captured_at"
"""Key in an AudioFrame's ``userdata``: when the frame's last sample was captured (float, seconds, monotonic). An end
that knows it sets it, and the STT uses it instead of the time of arrival."""
