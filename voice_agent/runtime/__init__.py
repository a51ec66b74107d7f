"""The process: model scheduling, thread priority, garbage collection, malloc, flush-to-zero, lazy imports."""
