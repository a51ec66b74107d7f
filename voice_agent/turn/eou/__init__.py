"""End-of-turn models over text, and the language model behind them: SmolLM2 on onnxruntime.

Read in this order: ``end_of_turn_models``, ``english_rules`` (what the language model overlooks), ``language_model``
(the next tokens of a text), ``lm_graph`` (the network as ONNX), ``gguf`` (the model's file).
"""
