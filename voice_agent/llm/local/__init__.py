"""Models on this machine: the embedded one, and the simulator."""
