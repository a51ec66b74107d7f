"""scripts/bench: how fast, how patient, how accurate; against others where there are others.

    scripts/bench [compare] FOLDER    voice to voice and cut-offs: ours, stock LiveKit, stock Pipecat
    scripts/bench turns [FOLDER]      cut-offs against delay: our policy, silence time-outs, v1-mini (table and picture)
    scripts/bench wer FOLDER          word errors and time to the final text: ours, faster-whisper's transcribe
    scripts/bench tts                 text-to-speech: first audio, real-time factor, cancel, gaps, memory
    scripts/bench barge-in [FOLDER]   how soon the agent falls silent, and what does not silence it for good
    scripts/bench talk [FOLDER]       voice-agent talk on virtual devices: beside script, processor time, lost sound
    scripts/bench rooms [FOLDER]      1 to 16 calls at the same time in real rooms: ours, stock LiveKit
    scripts/bench room-turns [FOLDER] one call in a real room: voice to voice, holds, barge-in: ours, stock LiveKit
    scripts/bench any-agent [PATH]    the same scripts in a room: stock LiveKit and ours, reported side by side
    scripts/bench degradation         what is done when a turn is late: each step alone and all together (virtual time)
    scripts/bench cold                from start to listening, peak memory
    scripts/bench conversation-length first content over 200 turns, with the embedded model
    scripts/bench verdict             does the verdict find 40 ms, and name the stage? Faults injected for real

"scripts/bench VERB --help" says more. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

import any_agent
import barge_in
import cold
import compare
import conversation_length
import degradation
import room_turns
import rooms
import talk
import turns
import verdict_power
import wer

from voice_agent.errors import VoiceAgentError

VERBS = (
    "barge-in",
    "compare",
    "talk",
    "degradation",
    "turns",
    "wer",
    "tts",
    "cold",
    "rooms",
    "room-turns",
    "any-agent",
    "verdict",
    "conversation-length",
)


def main(argv: list[str]) -> int:
    """Run one benchmark; ``compare`` may be left out."""
    if argv and argv[0] == "tts":
        sys.argv = ["tts.py", *argv[1:]]
        runpy.run_path(str(Path(__file__).with_name("tts.py")), run_name="__main__")
        return 0
    if argv and argv[0] not in (*VERBS, "-h", "--help"):
        argv = ["compare", *argv]
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=formatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB", title="verbs")
    modules = {
        "barge-in": barge_in,
        "compare": compare,
        "turns": turns,
        "wer": wer,
        "cold": cold,
        "rooms": rooms,
        "room-turns": room_turns,
        "degradation": degradation,
        "any-agent": any_agent,
        "talk": talk,
    }
    modules |= {"verdict": verdict_power, "conversation-length": conversation_length}
    for name, module in modules.items():
        about = module.__doc__ or ""
        verb = verbs.add_parser(name, help=about.splitlines()[0], description=about, formatter_class=formatter)
        module.add(verb)
    verbs.add_parser("tts", help="What text-to-speech takes: first audio, real-time factor, cancel, gaps, memory.")
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except VoiceAgentError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
