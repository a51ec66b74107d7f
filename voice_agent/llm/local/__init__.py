"""LLM servers on this machine: the embedded model and the simulation."""
