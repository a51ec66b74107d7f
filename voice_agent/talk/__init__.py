"""``voice-agent talk``: the call at the microphone and its user interface (live screen, plain lines, JSON, files).

Read in this order: ``events.py`` (what happens in a call), ``screen_state.py`` (the screen as a value, pure),
``view.py`` (that value as text, pure), ``live_screen.py`` and ``plain.py`` (event sinks), ``key_input.py`` (the
keyboard), ``user_interface.py`` (runs a call with sink, keys and signals; restores the terminal), ``save.py`` (files),
``talk_call.py`` (the call itself).
"""
