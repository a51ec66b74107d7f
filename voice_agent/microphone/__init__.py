"""The ends of the road: ``line`` and ``script`` (recorded speech on a real-time line)."""
