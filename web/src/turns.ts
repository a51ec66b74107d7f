// What the ledger says of a call (docs/ledger.md), as far as the page shows it. Pure: no DOM, no network.

export const STAGES = ["stt", "dispatch", "llm", "chunk", "tts", "endpointing", "output", "unattributed"] as const;
export type Stage = (typeof STAGES)[number];

export const STAGE_WORDS: Record<Stage, string> = {
  stt: "Hearing",
  dispatch: "Asking",
  llm: "Thinking",
  chunk: "First words",
  tts: "Voice",
  endpointing: "Waiting for you",
  output: "Output",
  unattributed: "Unexplained",
};

export const MARK_WORDS: Record<string, string> = {
  speech_ended: "you stopped speaking",
  transcript_ready: "words understood",
  llm_requested: "model asked",
  llm_first_content: "model began to answer",
  chunk_ready: "first phrase complete",
  tts_first_audio: "voice ready",
  turn_committed: "decided you had finished",
  first_audible: "first sound of the answer",
};

/** One turn: times in milliseconds, marks after the end of the user's speech. */
export interface Turn {
  id: string;
  userText: string;
  agentText: string;
  totalMs: number | null;
  spans: { stage: Stage; ms: number }[];
  marks: { name: string; ms: number }[];
  budgetMs: number;
  shares: Partial<Record<Stage, number>>;
  over: boolean;
  guilty: Stage | null;
  guiltyByMs: number;
  cutOff: boolean;
  interrupted: boolean;
  reopened: boolean;
  simulated: string[];
  error: string | null;
}

type Row = Record<string, unknown>;

const isObject = (value: unknown): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const isStage = (value: unknown): value is Stage => STAGES.includes(value as Stage);

/** Reads a row of the ledger; null for what is none, so that a stranger's packet changes nothing. */
export function parseTurn(json: string): Turn | null {
  let row: unknown;
  try {
    row = JSON.parse(json);
  } catch {
    return null;
  }
  if (!isObject(row) || row.schema !== 1 || !isObject(row.spans_ms) || !isObject(row.marks_ms)) return null;
  const budget = isObject(row.budget_ms) ? row.budget_ms : {};
  if (!isNumber(budget.total) || budget.total <= 0) return null;
  const spans = row.spans_ms;
  const shares: Partial<Record<Stage, number>> = {};
  for (const stage of STAGES) if (isNumber(budget[stage])) shares[stage] = budget[stage];
  const error = isObject(row.error) ? text(row.error.message) || text(row.error.type) || "failed" : null;
  return {
    id: String(row.turn),
    userText: text(row.user_text),
    agentText: text(row.agent_text),
    totalMs: isNumber(row.voice_to_voice_ms) && row.voice_to_voice_ms >= 0 ? row.voice_to_voice_ms : null,
    spans: STAGES.flatMap((stage) => {
      const ms = spans[stage];
      return isNumber(ms) && ms >= 0 ? [{ stage, ms }] : [];
    }),
    marks: Object.entries(row.marks_ms)
      .flatMap(([name, ms]) => (isNumber(ms) ? [{ name, ms }] : []))
      .sort((a, b) => a.ms - b.ms),
    budgetMs: budget.total,
    shares,
    over: row.over_budget === true,
    guilty: isStage(row.guilty) ? row.guilty : null,
    guiltyByMs: isNumber(row.guilty_by_ms) ? row.guilty_by_ms : 0,
    cutOff: row.cut_off === true,
    interrupted: row.interrupted === true,
    reopened: row.reopened === true,
    simulated: Array.isArray(row.simulated) ? row.simulated.map(String) : [],
    error,
  };
}

/** Linear between neighbours (Hyndman and Fan's definition 7), as in voice_agent/budget/stats.py. */
export function percentile(ascending: readonly number[], q: number): number {
  const position = ((ascending.length - 1) * q) / 100;
  const below = Math.floor(position);
  const low = ascending[below];
  if (low === undefined) throw new RangeError("no values, no percentile");
  const high = ascending[Math.min(below + 1, ascending.length - 1)] ?? low;
  return low + (high - low) * (position - below);
}

export interface Summary {
  turns: number;
  /** Of the turns that were answered, not cut off and not failed; ascending. */
  times: number[];
  p50: number | null;
  p95: number | null;
  cutOffs: number;
  failed: number;
  over: number;
}

/** Latency and cut-offs together: a cut-off is fast because it is wrong. */
export function summarise(turns: readonly Turn[]): Summary {
  const counted = turns.filter((turn) => turn.totalMs !== null && !turn.cutOff && turn.error === null);
  const times = counted.map((turn) => turn.totalMs ?? 0).sort((a, b) => a - b);
  return {
    turns: turns.length,
    times,
    p50: times.length ? percentile(times, 50) : null,
    p95: times.length ? percentile(times, 95) : null,
    cutOffs: turns.filter((turn) => turn.cutOff).length,
    failed: turns.filter((turn) => turn.error !== null).length,
    over: counted.filter((turn) => turn.over).length,
  };
}

const STEPS = [600, 800, 1000, 1500, 2000, 3000, 5000, 8000, 12000, 20000, 60000];

/** The right end of the one scale that all bars share: the smallest step that holds the budget and every turn. */
export function scaleEnd(turns: readonly Turn[], budgetMs: number): number {
  const longest = Math.max(budgetMs * 1.2, ...turns.map((turn) => turn.totalMs ?? 0));
  return STEPS.find((step) => step >= longest) ?? Math.ceil(longest / 60000) * 60000;
}

/** At most four steps, the last one at the end. */
export function ticks(endMs: number): number[] {
  const step = [100, 200, 250, 500, 1000, 2000, 2500, 4000, 5000, 20000].find((s) => endMs % s === 0 && endMs / s <= 4) ?? endMs / 4;
  return Array.from({ length: Math.round(endMs / step) + 1 }, (_, i) => i * step);
}

/** One sentence that a screen reader can say of a turn. */
export function sentence(turn: Turn): string {
  const parts = [`Turn ${turn.id}`];
  if (turn.error !== null) parts.push(`failed: ${turn.error}`);
  else if (turn.totalMs === null) parts.push(turn.cutOff ? "the agent spoke before you had finished" : "no answer");
  else parts.push(`${Math.round(turn.totalMs)} milliseconds of a budget of ${Math.round(turn.budgetMs)}`);
  if (turn.guilty) parts.push(`over because of ${STAGE_WORDS[turn.guilty].toLowerCase()}, ${Math.round(turn.guiltyByMs)} over its share`);
  if (turn.cutOff && turn.totalMs !== null) parts.push("cut off");
  return parts.join(", ") + ".";
}
