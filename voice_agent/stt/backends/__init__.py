"""What runs Whisper: CTranslate2, or onnxruntime."""
