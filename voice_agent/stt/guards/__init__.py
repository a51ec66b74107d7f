"""Checks that remove text which the audio cannot have carried."""
