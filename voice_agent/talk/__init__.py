"""What the person sees in ``voice-agent talk``: events in, and a live screen, plain lines, JSON or files out.

Read in this order: ``events.py`` (what happens in a call), ``state.py`` (what stands on the screen, pure), ``view.py``
(a state as text, pure), ``screen.py`` and ``plain.py`` (where events go), ``keys.py`` (the keyboard), ``front.py`` (all
of that around a call, with the terminal restored whatever happens), ``save.py`` (files), ``run.py`` (the call itself).
"""
