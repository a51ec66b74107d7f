"""A second request when the first one is late, and a circuit breaker for a provider that fails."""
