"""Whisper on onnxruntime: the same weights as CTranslate2's, a quarter of the time for a token (docs/hearing.md).

Read in this order: ``weights`` (CTranslate2's file), ``graph`` (the network, written down as ONNX), ``rules`` (which
token may follow), ``whisper`` (running it).
"""
