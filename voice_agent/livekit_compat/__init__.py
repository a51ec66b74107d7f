"""Every use of a private name of livekit, livekit-agents, httpx2, httpcore2 and faster-whisper; nothing else.

``symbols`` says what happens in a release that lacks a name; ``startup`` checks versions before a session starts. A
test (tests/livekit_compat) looks for each name in the installed release, and for private names in all other files.

- ``streams``: what a stage reads and writes (LiveKit's STT, TTS, LLM and VAD streams)
- ``speech``: which speech a generation is for, and when it is scheduled
- ``room_output``, ``transcription``: LiveKit's audio output into a room, and the words beside it
- ``ffi``: events of the native library, and how it is started
- ``inference``: request fields that a model refuses
- ``httpx_pool``: the connections under an HTTP client
- ``faster_whisper``: prompts, word times, languages
"""
