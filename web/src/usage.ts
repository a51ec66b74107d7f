// What the language model's provider has counted today, against its nearest limit (docs/rooms.md).

import { make, percent } from "./dom";

export interface Usage {
  provider: string;
  requests: number;
  tokens: number;
  /** The limit that is nearest; null: none is known. */
  quota: { words: string; used: number; limit: number } | null;
  state: "ok" | "warn" | "full";
}

const QUOTA_WORDS: Record<string, string> = {
  requests_minute: "requests a minute",
  requests_day: "requests a day",
  tokens_minute: "tokens a minute",
  tokens_day: "tokens a day",
};
const STATE_WORDS: Record<Usage["state"], string> = { ok: "", warn: "Nearly used up", full: "Used up" };

type Row = Record<string, unknown>;

const isObject = (value: unknown): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value >= 0;
const count = (value: number): string => Math.round(value).toLocaleString("en");

/** Reads one message; null for what is none. */
export function parseUsage(json: string): Usage[] | null {
  let message: unknown;
  try {
    message = JSON.parse(json);
  } catch {
    return null;
  }
  if (!isObject(message) || message.schema !== 1 || !Array.isArray(message.providers)) return null;
  return message.providers.flatMap((row: unknown): Usage[] => {
    if (!isObject(row) || typeof row.provider !== "string" || !isCount(row.requests_today) || !isCount(row.tokens_today)) return [];
    const words = typeof row.quota === "string" ? QUOTA_WORDS[row.quota] : undefined;
    const known = words !== undefined && isCount(row.used) && isCount(row.limit) && row.limit > 0;
    return [
      {
        provider: row.provider,
        requests: row.requests_today,
        tokens: row.tokens_today,
        quota: known ? { words, used: row.used as number, limit: row.limit as number } : null,
        state: row.state === "warn" || row.state === "full" ? row.state : "ok",
      },
    ];
  });
}

/** A list with a row a provider; hidden without one. */
export class UsageList {
  constructor(private readonly list: HTMLElement) {}

  show(usages: readonly Usage[]): void {
    this.list.hidden = usages.length === 0;
    this.list.replaceChildren(...usages.map((usage) => this.row(usage)));
  }

  private row(usage: Usage): HTMLElement {
    const words = make(
      "p",
      "usage-words",
      make("strong", "", usage.provider),
      ` today: ${count(usage.requests)} requests, ${count(usage.tokens)} tokens`,
    );
    const row = make("li", `usage ${usage.state}`, words);
    if (usage.quota) {
      const { words: quota, used, limit } = usage.quota;
      const level = make("span", "usage-level");
      level.style.width = percent(used / limit);
      const track = make("span", "usage-track", level);
      track.ariaHidden = "true";
      row.append(make("p", "usage-quota", `${count(used)} of ${count(limit)} ${quota}`), track);
    }
    if (usage.state !== "ok") words.append(" ", make("span", "usage-state", STATE_WORDS[usage.state]));
    return row;
  }
}
