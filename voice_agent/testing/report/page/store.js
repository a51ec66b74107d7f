// The measurements: the index is read at once, a turn when it is opened.

function block(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

export const data = block("index");
export const STAGES = data.stages;
data.turns.forEach((turn, number) => (turn.number = number));

export const STAGE_WORDS = {
  stt: "hearing", dispatch: "dispatch", llm: "language model", chunk: "first words", tts: "voice",
  endpointing: "waiting for the end", output: "output", unattributed: "unattributed",
};
export const MARK_WORDS = {
  speech_ended: "speech ended", transcript_ready: "transcript", llm_requested: "model asked",
  llm_first_content: "first content", chunk_ready: "first words", tts_first_audio: "first audio",
  acknowledged: "acknowledged", turn_committed: "committed", first_audible: "audible",
};

export const detail = (number) => block(`t${number}`);
export const audio = (number) => block(`a${number}`);
export const hasAudio = (number) => document.getElementById(`a${number}`) !== null;

/** Which turns are looked at: everything on the page that shows figures follows this one. */
export const view = { run: "all", show: "all", sort: "order", text: "" };

export function ofRun(turn) {
  return view.run === "all" || turn.run === view.run;
}

const SHOWN = {
  all: () => true,
  counted: (turn) => turn.counts,
  late: (turn) => Boolean(turn.guilty),
  failed: (turn) => turn.ok === false || (turn.flags ?? []).some((flag) => ["cut off", "failed", "no answer"].includes(flag)),
  interrupted: (turn) => (turn.flags ?? []).includes("interrupted"),
  warm: (turn) => Boolean(turn.warm),
};

export function chosen() {
  const words = view.text.trim().toLowerCase();
  const found = data.turns.filter(
    (turn) =>
      ofRun(turn) && SHOWN[view.show](turn) &&
      (!words || `${turn.user} ${turn.agent ?? ""} ${turn.id ?? ""} ${turn.guilty ?? ""}`.toLowerCase().includes(words)),
  );
  if (view.sort === "slow") found.sort((a, b) => (b.v2v ?? -1) - (a.v2v ?? -1));
  return found;
}

/** Voice-to-voice times that say something about speed, ascending. */
export function latencies(run = view.run) {
  return data.turns
    .filter((turn) => turn.counts && (run === "all" || turn.run === run))
    .map((turn) => turn.v2v)
    .sort((a, b) => a - b);
}
