"""A long conversation within the context limit: window, summary, and the task that updates them."""
