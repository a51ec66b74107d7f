"""The call's audio devices on this machine: a microphone and a loudspeaker as LiveKit's AudioInput and AudioOutput.

Read in this order: ``open_microphone.py`` (how a call opens both devices), ``microphone.py`` (both devices, open),
``capture.py`` and ``player.py`` (the device callbacks), ``speaker.py`` (what was heard of each reply),
``audio_processing.py`` (echo cancellation), ``device_watch.py`` (xruns, unplugged devices), ``sound_system.py`` and
``portaudio.py`` (which devices there are).
"""
