"""What all audio in the package is made of: arrays of int16 samples, and when they were captured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]

CAPTURED_AT = "voice_agent.captured_at"
"""Key in an AudioFrame's ``userdata``: when the frame's last sample was captured (float, seconds, monotonic), as far as
the end that made the frame knows. The STT takes it instead of the time of arrival."""
