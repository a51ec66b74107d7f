"""Wires a session: configuration in, a LiveKit ``AgentSession`` with its ledger out (docs/pipeline.md).

Read in this order: ``session`` (what is connected to what), ``builders`` (the parts), ``model_loader`` and
``model_pool`` (models, loaded once), ``agent`` (one generation), ``turn_detectors``, ``agent_speech`` and
``interruptions`` (barge-in), ``acknowledgements``, ``degradation`` and ``swaps`` (late turns), ``apologies`` and
``undo_reply`` (failures, reopened turns).
"""
