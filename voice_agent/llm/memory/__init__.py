"""The conversation as the model is sent it: window and summary."""
