"""Statistics that decide whether a run is slower than its baseline, and at which stage."""
