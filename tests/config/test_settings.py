from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent import config
from voice_agent.config import Config, LlmConfig, Secret, SttConfig, TurnConfig, load, sections
from voice_agent.config import page as config_page
from voice_agent.config.setting import keys
from voice_agent.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def test_nothing_given_is_the_defaults() -> None:
    assert load(env={}) == Config()


def test_each_layer_wins_over_the_one_before(file: Path) -> None:
    file.write_text("[turn]\npatience = 0.1\n[stt]\nmodel = 'tiny.en'\n[budget]\ntotal_ms = 400\n[llm]\nmodel = 'a'\n")
    env = {"VOICE_AGENT_TURN_PATIENCE": "0.2", "VOICE_AGENT_STT_MODEL": "small", "PATH": "/bin"}
    loaded = load(file, env, {"turn.patience": "0.3"})
    assert loaded.turn.patience == 0.3
    assert loaded.stt.model == "small"
    assert loaded.budget.total_ms == 400.0
    assert loaded.llm.model == "a"
    assert loaded.tts == Config().tts


def test_the_environment_can_name_the_file(file: Path) -> None:
    file.write_text("[turn]\npatience = 1\n")
    patience = load(env={"VOICE_AGENT_CONFIG": str(file)}).turn.patience
    assert (patience, type(patience)) == (1.0, float)


def test_a_named_file_wins_over_the_environments(file: Path, tmp_path: Path) -> None:
    file.write_text("[turn]\npatience = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[turn]\npatience = 0\n")
    assert load(file, {"VOICE_AGENT_CONFIG": str(other)}).turn.patience == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[turn]\npatiense = 0.5\n", ["'patiense'", "[turn]", "did you mean 'patience'?"]),
        ("[tutn]\npatience = 0.5\n", ["[tutn]", "did you mean 'turn'?"]),
        ("[zzz]\n", ["[zzz]", "known: stt, turn"]),
        ("turn = 3\n", ["turn is a section"]),
        ("[turn]\npatience = 1.5\n", ["[turn] patience", "1.5", "0 to 1"]),
        ("[turn]\npatience = nan\n", ["[turn] patience", "nan"]),
        ("[turn]\npatience = '0.5'\n", ["[turn] patience", "'0.5'", "number"]),
        ("[turn]\npatience = true\n", ["[turn] patience", "True", "number"]),
        ("[stt]\nthreads = 1.5\n", ["[stt] threads", "whole number"]),
        ("[stt]\ndevice = 'gpu'\n", ["[stt] device", "'gpu'", "cpu | cuda | auto"]),
        ("[llm]\nmodel = ['a']\n", ["[llm] model", "text, or left out"]),
        ("[turn\n", ["not valid TOML"]),
    ],
)
def test_a_mistake_in_the_file_is_explained(file: Path, text: str, said: list[str]) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert all(part in str(caught.value) for part in [str(file), *said]), str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.toml", tmp_path, binary):
        with pytest.raises(ConfigError, match=path.name):
            load(path, {})


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"VOICE_AGENT_TURN_PATIENSE": "1"}, "did you mean 'VOICE_AGENT_TURN_PATIENCE'?"),
        ({"VOICE_AGENT_TURN_PATIENCE": "much"}, "VOICE_AGENT_TURN_PATIENCE: 'much' is not allowed.* 0 to 1"),
        ({"VOICE_AGENT_TURN_PATIENCE": ""}, "VOICE_AGENT_TURN_PATIENCE: '' is not allowed"),
        ({"VOICE_AGENT_STT_THREADS": "0"}, "VOICE_AGENT_STT_THREADS: 0 is not allowed.*1 to 64"),
    ],
)
def test_a_mistake_in_the_environment_is_explained(env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(env=env)


def test_variables_that_begin_with_no_section_are_ignored_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Kubernetes sets the first four beside a Service called voice-agent."""
    env = {
        "VOICE_AGENT_SERVICE_HOST": "10.0.0.1",
        "VOICE_AGENT_SERVICE_PORT_HTTP": "80",
        "VOICE_AGENT_PORT": "tcp://10.0.0.1:8080",
        "VOICE_AGENT_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "VOICE_AGENT_TRUN_PATIENCE": "0.2",
        "VOICE_AGENT_STT_MODEL": "small",
    }
    assert load(env=env) == Config(stt=SttConfig(model="small"))
    load(env=env)
    (record,) = caplog.records  # once a process
    said = record.getMessage()
    assert all(name in said for name in list(env)[:5])
    assert "did you mean 'VOICE_AGENT_TURN_PATIENCE'?" in said
    assert "10.0.0.1" not in said


def test_no_section_is_called_like_a_variable_of_kubernetes() -> None:
    assert not {"service", "port"} & set(sections())


def test_a_mistake_in_a_flag_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"flag turn\.patients: .*did you mean 'turn\.patience'"):
        load(env={}, flags={"turn.patients": 1})
    with pytest.raises(ConfigError, match=r"flag budget\.total_ms: 0\.0 .*1 or more"):
        load(env={}, flags={"budget.total_ms": "0"})


def test_an_optional_setting_is_left_out_by_empty_text_or_none() -> None:
    assert load(env={"VOICE_AGENT_TTS_SPEAKER": ""}).tts.speaker is None
    assert load(env={"VOICE_AGENT_TTS_SPEAKER": "3"}, flags={"tts.speaker": None}).tts.speaker is None
    assert load(env={"VOICE_AGENT_AGENT_GREETING": ""}).agent.greeting == ""


def test_values_made_in_code_are_held_to_the_same_limits() -> None:
    with pytest.raises(ConfigError, match=r"TurnConfig\(patience=\.\.\.\): 2.*0 to 1"):
        TurnConfig(patience=2)
    with pytest.raises(ConfigError, match="device"):
        dataclasses.replace(SttConfig(), device="tpu")


def test_a_value_made_in_code_is_as_easy_as_one_from_a_file() -> None:
    assert LlmConfig(api_key="sk-plain") == LlmConfig(api_key=Secret("sk-plain"))  # type: ignore[arg-type]
    assert "sk-plain" not in repr(dataclasses.replace(LlmConfig(), api_key="sk-plain"))  # type: ignore[arg-type]
    patience = TurnConfig(patience=1).patience
    assert (patience, type(patience)) == (1.0, float)


@given(st.floats(0, 1), st.integers(1, 64), st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_what_is_allowed_goes_in_and_comes_out(patience: float, threads: int, instructions: str) -> None:
    env = {
        "VOICE_AGENT_TURN_PATIENCE": repr(patience),
        "VOICE_AGENT_STT_THREADS": str(threads),
        "VOICE_AGENT_AGENT_INSTRUCTIONS": instructions,
    }
    loaded = load(env=env)
    assert (loaded.turn.patience, loaded.stt.threads, loaded.agent.instructions) == (patience, threads, instructions)


def test_a_secret_does_not_show(file: Path) -> None:
    secret = "sk-very-secret"
    file.write_text(f"[llm]\napi_key = '{secret}'\n")
    loaded = load(file, {})
    assert loaded.llm.api_key is not None
    assert loaded.llm.api_key.reveal() == secret
    shown = f"{loaded} {loaded!r} {loaded.llm.api_key} {loaded.llm.api_key!r} {dataclasses.asdict(loaded)}"
    assert secret not in shown
    assert shown.count("***") == 5
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(loaded)


def test_a_wrong_secret_does_not_show_in_the_error(file: Path) -> None:
    file.write_text("[llm]\napi_key = 123456\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert "123456" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        LlmConfig(api_key=b"sk-plain")  # type: ignore[arg-type]
    assert "sk-plain" not in str(caught.value)


def test_secrets_compare_and_hash_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_providers_key_is_read_from_its_variable() -> None:
    assert config.provider_key("X_API_KEY", {"X_API_KEY": " k \n"}) == Secret("k")
    assert config.provider_key("X_API_KEY", {"X_API_KEY": "  "}) is None
    assert config.provider_key("X_API_KEY", {}) is None


def test_the_cache_follows_the_xdg_rules() -> None:
    assert config.cache_dir({"XDG_CACHE_HOME": "/caches"}) == Path("/caches/voice-agent")
    assert config.cache_dir({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "voice-agent"
    assert config.cache_dir({}) == Path.home() / ".cache" / "voice-agent"


def test_every_setting_is_frozen_and_described() -> None:
    loaded = Config()
    assert [section.name for section in dataclasses.fields(loaded)] == list(sections())
    for section in sections().values():
        assert list(keys(section)) == [item.name for item in dataclasses.fields(section)]  # type: ignore[arg-type]
        assert all(len(key.limits.doc) > 10 for key in keys(section).values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.turn.patience = 0.1  # type: ignore[misc]


def test_the_page_of_settings_is_current() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == config_page.page(), "write it again: python -m voice_agent.config.page > docs/configuration.md"
