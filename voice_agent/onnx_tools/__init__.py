"""ONNX sessions, and writing ONNX graphs."""
