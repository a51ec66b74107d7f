"""Whisper on onnxruntime: CTranslate2's weights, a quarter of the time for a token (docs/stt.md).

Read in this order: ``ct2_file`` (CTranslate2's file), ``whisper_graph`` (the network as ONNX), ``token_rules`` (which
token may follow), ``whisper_sessions`` (one decoder step), ``onnx_whisper`` (decoding with a draft).
"""
