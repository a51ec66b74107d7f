"""onnxruntime sessions, and reading and writing ONNX graphs."""
