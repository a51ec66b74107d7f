"""Latency tests for any voice agent: doubles, call harness, scenarios, verdict, replay, report, pytest plugin."""
