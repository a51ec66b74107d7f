"""The process: scheduling of models, thread priority, garbage collection, malloc, flush-to-zero."""
