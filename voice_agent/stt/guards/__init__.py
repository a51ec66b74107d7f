"""Checks of what Whisper wrote against the sound it was given."""
