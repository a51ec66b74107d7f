"""The pytest plugin: ``*.voice.yaml`` files are tests, and ``voice_session`` is a conversation that a test drives.

Installed with the package (entry point ``pytest11``); nothing needs to be imported. docs/testing.md is its page. This
module is loaded by every pytest run, so heavy modules are imported only when a voice test is collected.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..config import Config
    from .doubles import Conversation
    from .scenario.results import Result
    from .scenario.script_file import Script

SUFFIX = ".voice.yaml"
MODES = ("deterministic", "real")
_ALLOWED = ("settings", "llm", "replies", "tools", "mishears", "patience_s")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("voice", "voice agents")
    group.addoption(
        "--voice-mode",
        choices=MODES,
        default="deterministic",
        help="deterministic: virtual time and doubled models, the same on every run (default);"
        " real: the real models on the real-time timeline",
    )
    group.addoption("--voice-runs", type=Path, metavar="DIR", help="recordings and rows (default: in pytest's cache)")
    group.addoption("--voice-config", type=Path, metavar="FILE", help="TOML file with settings for voice tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"voice({', '.join(f'{name}=...' for name in _ALLOWED)}): how the voice_session of this test is set up;"
        " every *.voice.yaml test carries this marker too",
    )


def _mode(config: pytest.Config) -> str:
    mode: str = config.getoption("--voice-mode")
    return mode


def _folder(config: pytest.Config, name: str) -> Path:
    """Where a test's recording and rows go."""
    chosen: Path | None = config.getoption("--voice-runs")
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:120]
    if chosen is not None:
        return chosen / safe
    cache = getattr(config, "cache", None)  # not there with -p no:cacheprovider
    if cache is not None:
        return Path(cache.mkdir("voice")) / safe
    return Path(tempfile.mkdtemp(prefix="voice-")) / safe


def _settings(config: pytest.Config, flags: dict[str, Any] | None = None) -> Config:
    from ..config import load

    return load(config.getoption("--voice-config"), flags=flags)


# --- scripts ----------------------------------------------------------------------------------------------------------


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> pytest.Collector | None:
    if file_path.name.endswith(SUFFIX):
        return ScriptFile.from_parent(parent, path=file_path)
    return None


class ScriptFile(pytest.File):
    """A ``*.voice.yaml`` file: one test."""

    def collect(self) -> Iterable[pytest.Item]:
        from ..errors import VoiceAgentError
        from .scenario.script_file import load

        try:
            script = load(self.path)
        except VoiceAgentError as error:
            raise self.CollectError(str(error)) from None
        yield ScriptItem.from_parent(self, name=script.scenario.name, script=script)


class ScriptFailed(Exception):
    """A script did not go as expected; carries the result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.error or f"{len(result.failures)} expectations did not hold")
        self.result = result


class ScriptItem(pytest.Item):
    """A script as a test."""

    def __init__(self, *, script: Script, **given: Any) -> None:
        super().__init__(**given)
        self.script = script
        self.add_marker("voice")

    def runtest(self) -> None:
        config = _settings(self.config)
        folder = _folder(self.config, self.nodeid)
        if _mode(self.config) == "deterministic":
            from .doubles.scenarios import run_deterministic

            result = run_deterministic(self.script, config, folder)
        else:
            import asyncio

            from .scenario.harness_end import HarnessTarget
            from .scenario.runner import run_script

            result = asyncio.run(run_script(self.script, config, folder, target=HarnessTarget()))
        for turn in result.turns:
            if turn.voice_to_voice_ms is not None:
                self.user_properties.append((f"turn {turn.id} ms", round(turn.voice_to_voice_ms, 1)))
        if not result.passed:
            raise ScriptFailed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from ..errors import VoiceAgentError

        if isinstance(excinfo.value, ScriptFailed):
            return describe(excinfo.value.result)
        if isinstance(excinfo.value, VoiceAgentError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"voice: {self.name}"


def describe(result: Result) -> str:
    """What went wrong in a script's run: its line, the expectation, the turn's waterfall, the recording."""
    from ..budget.console_report import explain
    from ..budget.turn_verdict import Budget

    lines = [f"{result.path}: {result.error}"] if result.error else []
    shown: set[int] = set()
    for step, check in result.failures:
        if step is None:
            lines.append(f"{result.path}: the whole: {check.what}: {check.said}")
            continue
        lines.append(f"{result.path}:{step.line}: {step.name!r}: {check.what}: {check.said}")
        if step.row is not None and id(step) not in shown:
            shown.add(id(step))
            lines += ["  " + line for line in waterfall(step.row)]
            lines += ["  " + line for line in explain(step.row, Budget()).splitlines()]
    if result.guards:
        lines.append(f"the script guards: {result.guards}")
    lines += [f"recording: {result.folder / 'audio.wav'}", f"rows: {result.folder / 'turns.jsonl'}"]
    return "\n".join(lines)


def waterfall(turn: Any, width: int = 48) -> list[str]:
    """The critical path of a turn as bars on one axis, in plain text."""
    path = [step for step in turn.path if step.ns > 0]
    if not path:
        return []
    begin, end = path[0].start_ns, path[-1].end_ns
    lines = []
    for step in path:
        left = round((step.start_ns - begin) / (end - begin) * width)
        right = max(left + 1, round((step.end_ns - begin) / (end - begin) * width))
        lines.append(
            f"{step.stage!s:<13}|{' ' * left}{'#' * (right - left)}{' ' * (width - right)}| {step.ns / 1e6:.1f} ms"
        )
    return lines


# --- tests written by hand --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class VoiceSession:
    """What the fixture gives the plugin, which runs the test and gives it a
    :class:`~voice_agent.testing.doubles.conversation.Conversation`."""

    mode: str
    config: Config
    folder: Path
    given: dict[str, Any] = field(default_factory=dict)
    build: Any = None
    talk: Conversation | None = None

    def __getattr__(self, name: str) -> Any:
        raise TypeError(f"voice_session.{name}: a test that uses voice_session must be 'async def'")


@pytest.fixture
def voice_build() -> Any:
    """Override it to test your own agent: ``def build(doubles) -> (AgentSession, Agent)``. None: this project's."""
    return None


@pytest.fixture
def voice_session(request: pytest.FixtureRequest, voice_build: Any) -> VoiceSession:
    """A conversation with a voice agent, for ``async def`` tests: ``await voice_session.say("Hello.")``.

    Set it up with ``@pytest.mark.voice(replies=[...], llm="sim:ttft=300ms", settings={"turn.patience": "0.7"})``.
    """
    given: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("voice"))):
        unknown = set(marker.kwargs) - set(_ALLOWED)
        if unknown or marker.args:
            raise pytest.UsageError(
                f"@pytest.mark.voice takes {', '.join(_ALLOWED)}; not {', '.join(sorted(unknown)) or marker.args}"
            )
        given.update(marker.kwargs)
    flags = dict(given.pop("settings", {}))
    if "llm" in given:
        flags["llm.spec"] = given.pop("llm")
    mode = _mode(request.config)
    if mode == "real" and ("replies" in given or "mishears" in given or voice_build is not None):
        pytest.skip("scripted replies, mishearings and agents made from doubles are for --voice-mode=deterministic")
    config = _settings(request.config, flags)
    return VoiceSession(mode, config, _folder(request.config, request.node.nodeid), given, voice_build)


def _drive(test: Callable[..., Any]) -> Callable[..., None]:
    """The ``async def`` test as a function that runs it in a conversation."""

    @functools.wraps(test)
    def wrapper(**given: Any) -> None:
        __tracebackhide__ = True
        session: VoiceSession = given["voice_session"]
        session.folder.mkdir(parents=True, exist_ok=True)
        record = session.folder / "audio.wav"

        async def main(clock: Any) -> None:
            __tracebackhide__ = True
            from .doubles.conversation import conversation, real_conversation

            if session.mode == "real":
                made = real_conversation(session.config, record=record, **session.given)
            else:
                made = conversation(clock, session.config, build=session.build, record=record, **session.given)
            async with made as talk:
                session.talk = talk
                await test(**{**given, "voice_session": talk})

        if session.mode == "real":
            import asyncio

            asyncio.run(main(None))
        else:
            from .doubles.world import run

            run(main)

    del wrapper.__wrapped__  # or it would be taken for the coroutine function
    return wrapper


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> Generator[None, Any, Any]:
    # The innermost wrapper: a plugin for asyncio (pytest-asyncio, anyio) then meets a plain function and leaves it be.
    made = yield
    for item in made if isinstance(made, Sequence) else [made]:
        ours = isinstance(item, pytest.Function) and "voice_session" in item.fixturenames
        if ours and inspect.iscoroutinefunction(item.obj):
            item.obj = _drive(item.obj)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    session = getattr(item, "funcargs", {}).get("voice_session")
    if call.when == "call" and report.failed and isinstance(session, VoiceSession) and session.talk is not None:
        from ..budget.console_report import explain

        for turn in session.talk.ledger[-1:]:
            report.sections.append((f"voice: turn {turn.id}", "\n".join([*waterfall(turn), explain(turn)])))
        report.sections.append(("voice: recording", str(session.folder / "audio.wav")))
    return report
