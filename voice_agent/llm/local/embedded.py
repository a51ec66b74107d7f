"""SmolLM2-135M on this machine: the chat model and, in a conversation with it, the end-of-turn model as well.

The weights are loaded once for both. In other conversations the end-of-turn model runs on :mod:`voice_agent.turn.eou`.

llama.cpp's server runs inside this process; its threads are C++ and release Python's lock. It has two slots with a
key-value cache each: 0 for the end-of-turn model, 1 for conversations. A prompt of the end-of-turn model is decoded in
the same batches as a running answer, so it does not wait for the answer's end.

Measured (AMD EPYC with AVX2, one thread, n_probs 100, one run on a shared machine; ms, P50 / P95): the end-of-turn
prompt grown by a word 14 / 15 (n = 60), while a chat answer is generated 28 / 41 (n = 60), while a chat prompt of ~190
tokens is read 16 / 192 (n = 30; with n_batch 64 instead of 16: 15 / 447, hence 16). A prompt that shares only the
system part takes about 7 ms a token.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import logging
import secrets
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from ...config import Secret
from ...errors import ModelError
from ..types import Endpoint

logger = logging.getLogger(__name__)

_CLOSE_POLL_S = 0.05
_EXIT_WAIT_S = 10.0
EOU_SLOT = 0
CHAT_SLOT = 1
MODEL_NAME = "SmolLM2-135M-Instruct"


class EmbeddedModel:
    """The loaded model. :meth:`shared` loads it once a process; each use ends with :meth:`close`.

    ``n_ctx``: context tokens shared by both slots. One thread: two were slower whenever anything else ran. Raises
    ModelError if the file cannot be loaded.
    """

    CLOSE_WAIT_S: ClassVar[float] = 2.0
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _loaded: ClassVar[dict[Path, EmbeddedModel]] = {}

    def __init__(self, path: Path, *, n_ctx: int = 4096, n_batch: int = 16, threads: int = 1) -> None:
        if not path.is_file():
            raise ModelError(f"{path}: no such file; install the embedded model, or use another provider")
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {MODEL_NAME}
        params.n_ctx = n_ctx
        params.n_parallel = 2
        params.kv_unified = True  # any slot may use all of n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.cache_ram_mib = 0  # no copies of old prompts: up to 8 GB by default
        params.fit_params = False
        params.verbosity = 0
        params.ui = False
        params.n_threads_http = 4
        # Any page in the user's browser can reach loopback, so the server requires this key.
        self.api_key = Secret(secrets.token_urlsafe(24))
        params.api_keys = [self.api_key.reveal()]
        try:
            self._server: Any = xllamacpp.Server(params)
        except Exception as error:  # the binding raises whatever C++ threw
            raise ModelError(f"{path}: llama.cpp cannot load it ({type(error).__name__}); fetch it again") from None
        self._path = path
        self._users = 1
        # Reads the weights. Also, a server that is closed right after loading may never end (5 of 10 times beside a
        # second server, apparently before its queue ran; after one call, none of 80).
        self.next_token_logprobs("Hello", top=1)

    @classmethod
    def shared(cls, path: Path) -> EmbeddedModel:
        """The process's one instance for ``path``, loaded at its first use (half a second)."""
        path = path.resolve()
        with cls._lock:
            model = cls._loaded.get(path)
            if model is None:
                model = cls._loaded[path] = cls(path)
            else:
                model._users += 1
            return model

    def next_token_logprobs(self, prompt: str, top: int = 100) -> list[tuple[str, float]]:
        """The ``top`` most likely next tokens after ``prompt`` with their natural log-probabilities, in descending
        order.

        Blocks without Python's lock. It may be called from any thread; calls are queued. The common prefix with the
        slot's last prompt is not computed again. Raises ModelError.
        """
        answer = self._call(
            {
                "prompt": prompt,
                "n_predict": 1,
                "n_probs": top,
                "temperature": 0,
                "cache_prompt": True,
                "id_slot": EOU_SLOT,
            }
        )
        try:
            tokens = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        except (KeyError, IndexError, TypeError):
            raise ModelError("the embedded model gave no probabilities; please report this") from None
        return [(str(token["token"]), float(token["logprob"])) for token in tokens]

    def prefill(self, instructions: str) -> None:
        """Read the agent's instructions into the chat slot before the first turn (7 ms a token). Blocks."""
        server = self._alive()
        server.handle_chat_completions(
            {
                "messages": [{"role": "system", "content": instructions}, {"role": "user", "content": "Hello"}],
                "max_tokens": 1,
                "cache_prompt": True,
                "id_slot": CHAT_SLOT,
            }
        )

    def serve(self) -> str:
        """The address of the OpenAI-compatible server on loopback, up to and including ``/v1``. Requires
        ``api_key``."""
        return str(self._alive().listening_address).rstrip("/") + "/v1"

    def endpoint(self, resolved: Endpoint) -> Endpoint:
        """``resolved`` (of kind ``embedded``) with the address, the key and the slot of this server."""
        extra = {"id_slot": CHAT_SLOT, "cache_prompt": True}
        return resolved.at(self.serve(), api_key=self.api_key, extra_body={**resolved.extra_body, **extra})

    def close(self) -> None:
        """End one use; the last one unloads the model. Close the clients of :meth:`serve` first.

        Waits up to ``CLOSE_WAIT_S`` for running requests. If some still run, the model is unloaded at the end of the
        process instead. Destroying llama.cpp's server during a request waits for the request's client while holding
        Python's lock: with a client in this process that would be a deadlock.
        """
        with self._lock:
            self._users -= 1
            if self._users != 0:
                return
            if self._loaded.get(self._path) is self:
                del self._loaded[self._path]
        if not self._idle_within(self.CLOSE_WAIT_S):
            logger.warning("the embedded model is still answering; it is unloaded when the process ends")
            atexit.register(self._unload_at_exit, self._server)
        self._server = None

    def _unload_at_exit(self, server: Any) -> None:
        # Ending the process during a decode crashed 1 of 5 times.
        self._server = server
        if not self._idle_within(_EXIT_WAIT_S):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))  # never destroyed: better than a deadlock
        self._server = None

    def _idle_within(self, wait_s: float) -> bool:
        """Whether no request is running, now or within ``wait_s`` seconds."""
        request = urllib.request.Request(
            self.serve().removesuffix("/v1") + "/slots", headers={"Authorization": f"Bearer {self.api_key.reveal()}"}
        )
        pause = threading.Event()
        for _ in range(max(1, round(wait_s / _CLOSE_POLL_S))):
            with urllib.request.urlopen(request, timeout=5) as answer:
                if not any(slot["is_processing"] for slot in json.load(answer)):
                    return True
            pause.wait(_CLOSE_POLL_S)
        return False

    def _alive(self) -> Any:
        if self._server is None:
            raise ModelError("the embedded model has been closed")
        return self._server

    def _call(self, request: dict[str, Any]) -> Any:
        answer = self._alive().handle_completions(request)
        error = answer.get("error") if isinstance(answer, dict) else None
        if error is not None:
            said = error.get("message") if isinstance(error, dict) else error
            raise ModelError(f"the embedded model refused a prompt ({said}); shorten it")
        return answer

    def __enter__(self) -> EmbeddedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
