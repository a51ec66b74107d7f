"""Cut-offs against delay: our policy at several patiences, plain silence time-outs, v1-mini alone.

Evidence is recorded once (evidence.py), then replayed under every policy (voice_agent/testing/replay). Simulated: the
language model (170 ms to the first content) and the TTS (40 ms); the user is recorded speech on a virtual timeline.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import clips as material
import evidence
import numpy as np
from livekit.local_inference import EOT
from tables import markdown, ms, percentile, spread

from voice_agent.budget.stage_times import StageTimes
from voice_agent.config import TurnConfig, load, models
from voice_agent.pipeline.model_loader import next_token_reader
from voice_agent.stt.decoder import WhisperEngine
from voice_agent.testing.replay import Evidence, ReplayOutcome, mini, replay, save, silence
from voice_agent.testing.replay import load as load_evidence
from voice_agent.testing.replay.chart import Series, svg
from voice_agent.turn import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel

PAUSES_S = (0.5, 0.8, 1.1)
SILENCES_S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5)
MINI_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
MINI_MAX_WAIT_S = 3.0  # LiveKit's default endpointing.max_delay


@dataclass(frozen=True, slots=True)
class Row:
    """One policy at one setting over all clips."""

    policy: str
    setting: str
    outcomes: tuple[ReplayOutcome, ...]

    def of(self, kind: str) -> list[ReplayOutcome]:
        return [o for o in self.outcomes if o.kind == kind]

    @property
    def delays(self) -> list[float]:
        return [o.delay_s for o in self.of("whole") if o.delay_s is not None and not o.cut]

    def cells(self) -> list[object]:
        whole, held = self.of("whole"), self.of("hold")
        requests = sum(o.requests for o in whole) / len(whole) if whole else 0.0
        return [
            self.policy,
            self.setting,
            *spread(self.delays),
            f"{sum(o.cut for o in held)} of {len(held)}" if held else None,
            f"{sum(o.cut for o in whole)} of {len(whole)}",
            sum(o.delay_s is None for o in whole),
            f"{requests:.2f}",
        ]


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="clips (default: assets/speech)")
    verb.add_argument("--whisper", default="base", metavar="A,B", help="Whisper models (default: base)")
    verb.add_argument("--patience", default="0,0.25,0.5,0.75,1", metavar="P,...", help="(default: %(default)s)")
    verb.add_argument(
        "--pauses", default=",".join(map(str, PAUSES_S)), metavar="S,...", help="of holds (%(default)s s)"
    )
    verb.add_argument("--n", type=int, metavar="N", help="only the first N utterances and N holds")
    verb.add_argument("--llm-ms", type=float, default=170.0, metavar="MS", help="the model's pace (%(default)s ms)")
    verb.add_argument("--pass-ms", type=float, metavar="MS", help="a Whisper pass takes this, instead of its CPU time")
    verb.add_argument(
        "--end-of-turn-model", choices=("embedded", "rules"), default="embedded", help="(default: %(default)s)"
    )
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a [turn] setting of ours")
    verb.add_argument("--evidence", type=Path, metavar="FILE", help="replay this, or record into it if it is not there")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config = load(flags=dict(pair.partition("=")[::2] for pair in args.set)).turn
    args.out.mkdir(parents=True, exist_ok=True)
    for whisper in args.whisper.split(","):
        file = args.evidence or args.out / f"evidence-{whisper.replace('/', '_')}.json"
        if args.evidence is not None and file.is_file():
            found = load_evidence(file)
        else:
            found = _record(args, whisper)
            save(file, found)
        pace = replace(StageTimes(), llm_s=args.llm_ms / 1000)
        rows = compare(found, config, [float(p) for p in args.patience.split(",")], pace)
        picture = args.out / f"turns-{whisper.replace('/', '_')}.svg"
        picture.write_text(_picture(rows, whisper))
        held, whole = (sum(e.kind == kind for e in found) for kind in ("hold", "whole"))
        print(
            f"Whisper {whisper}, {whole} whole utterances, {held} holds; ms from the end of speech to the first sound\n"
        )
        head = ["policy", "setting", "P50", "P95", "max", "holds cut off", "whole cut off", "unanswered", "requests"]
        print(markdown(head, (row.cells() for row in rows)))
        print(f"\n{_passes(found)} Evidence: {file}. Picture: {picture}\n")
    print(f"Simulated: language model ({args.llm_ms:g} ms), TTS (40 ms); all policies: same STT, preflights.")
    return 0


def compare(
    found: Sequence[Evidence], config: TurnConfig, patiences: Sequence[float], pace: StageTimes | None = None
) -> list[Row]:
    """All policies over all evidence. ``pace``: of the other stages; None gives 170, 40 and 12 ms."""

    def over(policy: str, setting: str, decide: Callable[[Evidence], ReplayOutcome]) -> Row:
        return Row(policy, setting, tuple(decide(e) for e in found))

    rows = []
    for p in patiences:
        ours = replace(config, patience=p)
        rows.append(over("ours", f"patience {p:g}", lambda e, ours=ours: replay(e, ours, pace)))  # type: ignore[misc]
        blind = replace(ours, hold_for_expected_reply_s=0.0)
        rows.append(over("ours, pace unused", f"patience {p:g}", lambda e, c=blind: replay(e, c, pace)))  # type: ignore[misc]
    for s in SILENCES_S:
        rows.append(over("silence", f"{s:g} s", lambda e, s=s: silence(e, s, pace)))  # type: ignore[misc]
    for t in MINI_THRESHOLDS:
        rows.append(over("v1-mini", f"p > {t:g}", lambda e, t=t: mini(e, t, MINI_MAX_WAIT_S, pace)))  # type: ignore[misc]
    return rows


def _picture(rows: Sequence[Row], whisper: str) -> str:
    series = []
    for policy in ("ours", "silence", "v1-mini"):
        points = []
        for row in rows:
            held, p50 = row.of("hold"), percentile(row.delays, 50)
            if row.policy == policy and held and p50 is not None:
                cut = 100 * sum(o.cut for o in held) / len(held)
                points.append((p50 * 1000, cut, row.setting.removeprefix("patience ")))
        series.append(Series(f"{policy} (patience)" if policy == "ours" else policy, tuple(points)))
    n = sum(len(rows[0].of(kind)) for kind in ("whole", "hold"))
    title = f"Holds cut off against delay (Whisper {whisper}, {n} clips; lower left is better)"
    return svg(title, "P50 from the end of speech to the first sound, ms", "holds cut off, %", series)


def _passes(found: Sequence[Evidence]) -> str:
    """When the text that had heard everything was there, after the end of speech."""
    waits = []
    for e in found:
        last = e.pauses[-1][0] if e.pauses else e.speech_end_s
        if (ready := next((at for begun, at, _ in e.passes if begun >= last), None)) is not None:
            waits.append(ready - last)
    p50, p95 = percentile(waits, 50), percentile(waits, 95)
    return f"Final text after the end of speech: P50 {ms(p50)}, P95 {ms(p95)} ms, n={len(waits)}."


def _record(args: argparse.Namespace, whisper: str) -> list[Evidence]:
    folder = args.folder or models.assets() / "speech"
    pauses = [float(p) for p in args.pauses.split(",")]
    todo = [*material.utterances(folder, args.n), *material.holds(folder, pauses, args.n)]
    engine = WhisperEngine(models.whisper(whisper))
    engine.decode(np.zeros(material.RATE, np.float32))
    eot = EOT()
    pass_s = None if args.pass_ms is None else args.pass_ms / 1000
    found = []
    end_of_turn_model: EndOfTurnModel = RuleEndOfTurnModel()
    if args.end_of_turn_model == "embedded":
        end_of_turn_model = TextEndOfTurnModel(next_token_reader(models.smollm2())())
    end_of_turn_model.score("hello there")
    for number, clip in enumerate(todo, 1):
        found.append(evidence.record(clip, engine, end_of_turn_model, eot, pass_s))
        text = found[-1].passes[-1][2] if found[-1].passes else ""
        print(f"bench: {number} of {len(todo)}, {clip.name}: {text}", file=sys.stderr, flush=True)
    return found
