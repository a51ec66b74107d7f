"""The judge's language model on onnxruntime: SmolLM2 reads a text and says what may come next.

Read in this order: ``gguf`` (the model's file), ``graph`` (the network, written down as ONNX), ``reader`` (running it).
"""
