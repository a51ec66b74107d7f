// The list of turns. Only the visible rows exist: five thousand are as quick as five.

import { count, h, ms, stageClass } from "./dom.js";
import { chosen, data, STAGE_WORDS, STAGES, view } from "./store.js";

const ROW = 54, MORE = 8, PRINTED = 1000;

export class TurnList {
  constructor(box, status, onShow, onEnter) {
    Object.assign(this, { box, status, onShow, onEnter, rows: new Map(), turns: [], place: -1 });
    this.space = h("div", { class: "space", role: "presentation" });
    box.append(this.space);
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.select(Number(row.dataset.place));
    });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  refresh() {
    const shown = this.turns[this.place];
    this.turns = chosen();
    this.space.style.height = `${this.turns.length * ROW}px`;
    this.status.textContent = count(this.turns.length, "turn");
    this.longest = this.turns.reduce((most, turn) => Math.max(most, turn.v2v ?? 0), 1);
    this.scale = Math.min(this.longest, 2.2 * Math.max(...data.runs.map((run) => run.budget_ms)));
    this.clear();
    const place = this.turns.indexOf(shown);
    this.select(place >= 0 ? place : Math.max(this.turns.length ? 0 : -1, this.turns.findIndex((turn) => turn.id !== undefined && !turn.warm)));
  }

  clear() {
    this.rows.clear();
    this.space.replaceChildren();
  }

  select(place) {
    if (place === this.place && this.turns[place] === this.current) return this.draw();
    this.place = place;
    this.current = this.turns[place];
    const top = place * ROW, { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.box.scrollTop = top + ROW - clientHeight;
    this.draw();
    if (this.current) this.onShow(this.current);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.select(Math.max(0, Math.min(this.turns.length - 1, this.place + steps[event.key])));
    else if (event.key === "Enter") this.onEnter();
    else return;
    event.preventDefault();
  }

  step(by) {
    const place = this.place + by;
    if (place >= 0 && place < this.turns.length) this.select(place);
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - MORE);
    const last = Math.min(this.turns.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + MORE);
    for (const [place, row] of this.rows) {
      if (place < first || place >= last) {
        row.remove();
        this.rows.delete(place);
      }
    }
    for (let place = first; place < last; place++) {
      if (!this.rows.has(place)) {
        const row = this.row(this.turns[place], place);
        row.style.transform = `translateY(${place * ROW}px)`;
        this.rows.set(place, row);
        this.space.append(row);
      }
      this.rows.get(place).setAttribute("aria-selected", String(place === this.place));
    }
    if (this.rows.has(this.place)) this.box.setAttribute("aria-activedescendant", `row${this.place}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  row(turn, place) {
    return h("div", { role: "option", id: `row${place}`, "data-place": place, class: `row ${tone(turn)}`, "aria-posinset": place + 1, "aria-setsize": this.turns.length, "aria-label": sentence(turn) },
      h("span", { class: "number" }, turn.id ?? "·"),
      h("span", { class: "figure" }, figure(turn)),
      h("span", { class: "mid" }, this.bar(turn), h("span", { class: "text" }, view.run === "all" && data.runs.length > 1 ? h("span", { class: "soft" }, `${data.runs[turn.run].label}  `) : null, turn.user || "–", turn.agent ? h("span", { class: "soft" }, `  › ${turn.agent}`) : null)),
      h("span", { class: "flags" }, words(turn).map((word) => h("span", { class: "flag" }, word))));
  }

  bar(turn) {
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    (turn.spans ?? []).forEach((value, place) => {
      if (value <= 0) return;
      const part = h("span", { class: stageClass(STAGES[place]) });
      part.style.width = `${(value / this.scale) * 100}%`;
      bar.append(part);
    });
    const limit = h("span", { class: "limit" });
    limit.style.left = `${(data.runs[turn.run].budget_ms / this.scale) * 100}%`;
    if (turn.spans?.length) bar.append(limit);
    return bar;
  }

  /** All rows as a table, for paper. */
  printed() {
    const kept = this.turns.slice(0, PRINTED);
    return h("div", { class: "paper" },
      kept.length < this.turns.length && h("p", {}, `The first ${PRINTED} of ${this.turns.length} turns, as sorted and filtered on the screen.`),
      h("table", { class: "figures" }, h("thead", {}, h("tr", {}, ["turn", "ms", "where the time went", "user", "agent", ""].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, kept.map((turn) => h("tr", {}, h("td", {}, String(turn.id ?? "")), h("td", {}, figure(turn)), h("td", { class: "bars" }, this.bar(turn)), h("td", { class: "text" }, turn.user), h("td", { class: "text" }, turn.agent ?? ""), h("td", { class: "text" }, words(turn).join(", ")))))));
  }
}

const BAD = ["cut off", "failed", "no answer"];

function tone(turn) {
  if (turn.warm) return "warm";
  return turn.ok === false || (turn.flags ?? []).some((flag) => BAD.includes(flag)) ? "bad" : turn.guilty ? "late" : "";
}

function figure(turn) {
  if (turn.v2v !== null && turn.v2v !== undefined) return String(Math.round(turn.v2v));
  return (turn.flags ?? []).includes("typed") ? "typed" : "–";
}

function words(turn) {
  const found = [...(turn.flags ?? []).filter((flag) => flag !== "typed")];
  if (turn.ok === false && !found.some((flag) => BAD.includes(flag))) found.unshift("expectation failed");
  if (turn.guilty && !found.length) found.push(STAGE_WORDS[turn.guilty]);
  if (turn.warm) found.push("warm-up");
  return found;
}

function sentence(turn) {
  const said = turn.v2v === null || turn.v2v === undefined ? "no voice-to-voice time" : ms(turn.v2v);
  const late = turn.guilty ? `, over budget because of ${STAGE_WORDS[turn.guilty]}` : "";
  return `${turn.id === undefined ? "step" : `turn ${turn.id}`}, ${said}${late}${words(turn).length ? `, ${words(turn).join(", ")}` : ""}: ${turn.user}`;
}
