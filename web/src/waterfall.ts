// The turn waterfall: each turn a bar by stage against the budget, all on one scale, and the session's distribution.

import { make, ms, percent } from "./dom";
import { MARK_WORDS, scaleEnd, sentence, STAGE_WORDS, STAGES, summarise, ticks, type Turn } from "./turns";

const BINS = 48;
const KEPT = 200; // turns with a bar of their own; the figures count all

interface Places {
  bars: HTMLOListElement;
  axis: HTMLElement;
  spread: HTMLElement;
  figures: HTMLElement;
  legend: HTMLElement;
  note: HTMLElement;
  empty: HTMLElement;
  panel: HTMLElement;
  tip: HTMLElement;
  spoken: HTMLElement;
}

export class Waterfall {
  private turns: Turn[] = [];
  private readonly open = new Set<Turn>();
  private readonly budget = make("li", "");
  private alike = true;

  constructor(private readonly at: Places) {
    for (const stage of STAGES) {
      at.legend.append(make("li", "", make("span", `swatch ${stage}`), STAGE_WORDS[stage]));
    }
    at.legend.append(this.budget);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.hideTip();
    });
    window.addEventListener("scroll", () => this.hideTip(), { passive: true, capture: true });
    this.draw();
  }

  clear(): void {
    this.turns = [];
    this.open.clear();
    this.draw();
  }

  /** Takes a turn in; one that is known already (by its id) is replaced. */
  add(turn: Turn): void {
    const known = this.turns.findIndex((other) => other.id === turn.id);
    if (known >= 0) this.turns[known] = turn;
    else this.turns.push(turn);
    this.at.spoken.textContent = sentence(turn);
    this.draw();
  }

  private draw(): void {
    const { turns, at } = this;
    this.hideTip(); // its row is about to be made anew
    at.empty.hidden = turns.length > 0;
    at.panel.hidden = turns.length === 0;
    if (!turns.length) return;
    const budget = turns[turns.length - 1]?.budgetMs ?? 500;
    const end = scaleEnd(turns, budget);
    this.budget.replaceChildren(make("span", "swatch line"), `Budget ${ms(budget)}`);
    this.figures();
    this.spread(end, budget);
    // What is simulated in every turn is said once; else each turn says it of itself.
    const simulated = [...new Set(turns.flatMap((turn) => turn.simulated))];
    this.alike = turns.every((turn) => turn.simulated.join() === simulated.join());
    at.note.hidden = !simulated.length;
    at.note.textContent = `Simulated in ${this.alike ? "these" : "some of these"} turns: ${simulated.join(", ")}.`;
    at.axis.replaceChildren(
      ...ticks(end).map((tick) => {
        const label = make("span", "tick", tick === 0 ? "0" : `${tick}`);
        label.style.left = percent(tick / end);
        return label;
      }),
    );
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.turn : undefined;
    const rows = turns.slice(-KEPT).map((turn) => this.row(turn, end));
    at.bars.replaceChildren(...rows.reverse());
    if (focused) at.bars.querySelector<HTMLElement>(`[data-turn="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  private figures(): void {
    const summary = summarise(this.turns);
    const figure = (name: string, value: string, unit: string, bad = false): HTMLElement => {
      const amount = make("dd", bad ? "bad" : "", value);
      if (unit) amount.append(make("small", "", ` ${unit}`));
      return make("div", "figure", make("dt", "", name), amount);
    };
    const rounded = (value: number | null): string => (value === null ? "–" : String(Math.round(value)));
    this.at.figures.replaceChildren(
      figure("P50", rounded(summary.p50), "ms"),
      figure("P95", rounded(summary.p95), "ms"),
      figure("Turns", String(summary.times.length), summary.times.length < summary.turns ? `of ${summary.turns}` : ""),
      figure("Cut off", String(summary.cutOffs), `of ${summary.turns}`, summary.cutOffs > 0),
      figure("Over budget", String(summary.over), `of ${summary.times.length}`),
    );
    if (summary.failed) this.at.figures.append(figure("Failed", String(summary.failed), `of ${summary.turns}`, true));
  }

  private spread(end: number, budget: number): void {
    const { times, p50, p95 } = summarise(this.turns);
    const counts = new Array<number>(BINS).fill(0);
    for (const time of times) {
      const bin = Math.min(BINS - 1, Math.floor((time / end) * BINS));
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
    const most = Math.max(4, ...counts);
    const parts: HTMLElement[] = counts.flatMap((count, bin) => {
      if (!count) return [];
      const bar = make("span", bin / BINS >= budget / end ? "bin late" : "bin");
      bar.style.left = percent(bin / BINS);
      bar.style.width = percent(1 / BINS);
      bar.style.height = percent(count / most);
      return [bar];
    });
    parts.push(line("budget", budget / end, ""));
    if (p50 !== null && p95 !== null) {
      parts.push(line("p50", p50 / end, "P50"));
      if ((p95 - p50) / end > 0.07) parts.push(line("p95", p95 / end, "P95"));
    }
    this.at.spread.replaceChildren(...parts);
    this.at.spread.setAttribute(
      "aria-label",
      p50 === null || p95 === null
        ? "No answered turns yet."
        : `Distribution of ${times.length} turns: half within ${ms(p50)}, 95 percent within ${ms(p95)}; budget ${ms(budget)}.`,
    );
  }

  private row(turn: Turn, end: number): HTMLLIElement {
    const bar = make("span", "bar");
    for (const span of turn.spans) {
      if (span.ms <= 0) continue;
      const piece = make("span", `piece ${span.stage}${span.stage === turn.guilty ? " guilty" : ""}`);
      piece.style.width = percent(span.ms / end);
      bar.append(piece);
    }
    bar.append(line("budget", turn.budgetMs / end, ""));
    const verdict = make("span", "verdict");
    if (turn.error !== null) verdict.append(make("span", "tag bad", "Failed"));
    else if (turn.guilty) verdict.append(make("span", "tag bad", `${STAGE_WORDS[turn.guilty]} +${ms(turn.guiltyByMs)}`));
    if (turn.cutOff) verdict.append(make("span", "tag bad", "Cut off"));
    if (turn.interrupted) verdict.append(make("span", "tag", "Interrupted"));
    if (turn.reopened) verdict.append(make("span", "tag", "Reopened"));
    if (turn.simulated.length && !this.alike) verdict.append(make("span", "tag", `Simulated: ${turn.simulated.join(", ")}`));
    const head = make(
      "span",
      "head",
      make("span", "number", turn.id),
      make("span", "said", turn.userText || "(no words)"),
      make("span", turn.over ? "total bad" : "total", turn.totalMs === null ? "–" : ms(turn.totalMs)),
    );
    const button = make("button", "turn", head, bar, verdict);
    button.type = "button";
    button.dataset.turn = turn.id;
    button.setAttribute("aria-label", `${sentence(turn)} ${turn.userText}`);
    const item = make("li", "", button);
    const showOpen = (): void => {
      const isOpen = this.open.has(turn);
      button.setAttribute("aria-expanded", String(isOpen));
      item.querySelector(".marks")?.remove();
      if (isOpen) item.append(details(turn));
    };
    showOpen();
    button.addEventListener("click", () => {
      if (!this.open.delete(turn)) this.open.add(turn);
      this.hideTip();
      showOpen();
    });
    button.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse" && !this.open.has(turn)) this.showTip(turn, button);
    });
    button.addEventListener("pointerleave", () => this.hideTip());
    button.addEventListener("focus", () => {
      if (button.matches(":focus-visible") && !this.open.has(turn)) this.showTip(turn, button);
    });
    button.addEventListener("blur", () => this.hideTip());
    return item;
  }

  private showTip(turn: Turn, beside: HTMLElement): void {
    const tip = this.at.tip;
    tip.replaceChildren(spansTable(turn), marksTable(turn));
    tip.hidden = false;
    const row = beside.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const floor = document.querySelector(".controls")?.getBoundingClientRect().top ?? window.innerHeight;
    const left = row.left - own.width - 12 >= 8 ? row.left - own.width - 12 : Math.max(8, row.right - own.width);
    const beneath = row.left - own.width - 12 >= 8 ? row.top : row.bottom + 6;
    tip.style.left = `${Math.round(left)}px`;
    tip.style.top = `${Math.round(Math.max(8, Math.min(beneath, floor - own.height)))}px`;
  }

  private hideTip(): void {
    this.at.tip.hidden = true;
  }
}

function line(kind: string, share: number, label: string): HTMLElement {
  const mark = make("span", `rule ${kind}`);
  mark.style.left = percent(share);
  if (label) mark.append(make("span", "label", label));
  return mark;
}

function details(turn: Turn): HTMLElement {
  const box = make("div", "marks", spansTable(turn), marksTable(turn));
  if (turn.agentText) box.append(make("p", "answer", `“${turn.agentText}”`));
  if (turn.error !== null) box.append(make("p", "answer bad", turn.error));
  return box;
}

function table(caption: string, rows: [string, string, string][]): HTMLTableElement {
  const made = make("table", "", make("caption", "", caption));
  for (const [name, value, kind] of rows) {
    const head = make("th", "", ...(kind ? [make("span", `swatch ${kind}`)] : []), name);
    head.scope = "row";
    made.append(make("tr", kind.includes("guilty") ? "bad" : "", head, make("td", "", value)));
  }
  return made;
}

function spansTable(turn: Turn): HTMLTableElement {
  const rows = turn.spans
    .filter((span) => span.ms > 0)
    .map((span): [string, string, string] => {
      const share = turn.shares[span.stage];
      const guilty = span.stage === turn.guilty;
      const allowed = guilty && share ? ` (share ${Math.round(share)})` : "";
      return [STAGE_WORDS[span.stage], `${span.ms.toFixed(0)} ms${allowed}`, guilty ? `${span.stage} guilty` : span.stage];
    });
  return table("Where the wait went", rows);
}

function marksTable(turn: Turn): HTMLTableElement {
  return table(
    "Marks, after your last sound",
    turn.marks.map(({ name, ms: at }) => [MARK_WORDS[name] ?? name, `${at > 0 ? "+" : ""}${at.toFixed(0)} ms`, ""]),
  );
}
