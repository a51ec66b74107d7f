"""The backends that run Whisper: onnxruntime and CTranslate2. ``load_backend`` chooses."""
