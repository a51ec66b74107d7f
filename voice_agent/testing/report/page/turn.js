// One turn in full: its drawing, its sound, its words, and every figure in a table.

import { h, ms, tenth } from "./dom.js";
import { data, detail, MARK_WORDS, STAGE_WORDS } from "./store.js";
import { Player } from "./player.js";
import { extent, plot, swatch } from "./plot.js";

export class TurnPanel {
  constructor(panel) {
    this.panel = panel;
    this.whole = false;
    this.player = new Player((at, playing) => this.time(at, playing));
    new ResizeObserver(() => this.draw()).observe(panel);
  }

  show(line) {
    this.line = line;
    this.turn = detail(line.number);
    this.player.load(line.number, this.turn.wave);
    this.plotPlace = h("div", { class: "plot-place" });
    this.lastWidth = 0;
    this.panel.replaceChildren(...this.parts().filter(Boolean));
    this.draw();
  }

  parts() {
    const { line, turn } = this;
    const run = data.runs[line.run];
    const title = turn.id === undefined ? `Step: ${turn.name}` : `Turn ${turn.id}`;
    const chips = [
      line.warm && h("span", { class: "chip" }, "warm-up, not counted"),
      ...(line.flags ?? []).map((flag) => h("span", { class: `chip ${["cut off", "failed", "no answer"].includes(flag) ? "bad" : "warn"}` }, flag)),
      ...(turn.simulated ?? []).map((part) => h("span", { class: "chip sim" }, `simulated: ${part}`)),
      turn.acknowledged_ms !== null && turn.acknowledged_ms !== undefined && h("span", { class: "chip" }, `a word before the answer, at ${ms(turn.acknowledged_ms)}`),
      turn.round > 0 && h("span", { class: "chip" }, `repetition ${turn.round + 1}`),
    ];
    return [
      h("div", { class: "turn-head" },
        h("div", {}, h("p", { class: "over" }, `${run.label}${turn.line ? `, line ${turn.line}` : ""}`), h("h3", { id: "turn-title", tabindex: "-1" }, title)),
        turn.v2v !== null && turn.v2v !== undefined
          ? h("p", { class: `big ${line.guilty ? "bad" : ""}` }, ms(turn.v2v), h("small", {}, line.guilty ? ` over by ${ms(turn.over_by_ms)}: ${STAGE_WORDS[line.guilty]}` : " within the budget"))
          : h("p", { class: "big soft" }, h("small", {}, why(turn)))),
      h("p", { class: "chips" }, chips.filter(Boolean)),
      this.controls(),
      this.plotPlace,
      this.trust(),
      this.transcript(),
      this.checks(),
      turn.error && h("p", { class: "note bad" }, turn.error),
      turn.id !== undefined && h("div", { class: "columns" }, this.path(), this.speculation(), this.evidence()),
      this.passes(),
    ];
  }

  controls() {
    const { turn } = this;
    const zoom = h("button", { type: "button", class: "quiet", "aria-pressed": String(this.whole), onclick: () => this.zoom() }, "Whole turn");
    this.zoomButton = zoom;
    if (!turn.wave) return h("div", { class: "controls" }, zoom, h("span", { class: "soft" }, "No recording of this turn."));
    if (!this.player.embedded) {
      const [begin, end] = turn.wave.at_s;
      return h("div", { class: "controls" }, zoom,
        turn.wave.link && h("audio", { controls: true, preload: "none", src: `${turn.wave.link}#t=${begin},${end}`, "aria-label": "recording of this turn" }),
        h("span", { class: "soft" }, `Not in this file (limit ${data.audio.limit_mb} MB): `, turn.wave.link ? `from the recording beside it, ${begin} to ${end} s.` : "no recording can be reached from here."));
    }
    const side = (name) => h("button", { type: "button", class: `quiet side ${name}`, "aria-pressed": String(!this.player.muted[name]),
      onclick: (event) => { this.player.mute(name, !this.player.muted[name]); event.currentTarget.setAttribute("aria-pressed", String(!this.player.muted[name])); } }, name);
    this.playButton = h("button", { type: "button", class: "play", onclick: () => this.player.toggle() }, "Play");
    this.clock = h("span", { class: "soft clock" }, "");
    return h("div", { class: "controls" }, this.playButton, side("user"), side("agent"), zoom, this.clock);
  }

  zoom() {
    this.whole = !this.whole;
    this.zoomButton.setAttribute("aria-pressed", String(this.whole));
    this.draw(true);
  }

  draw(again = false) {
    if (!this.turn || (!this.turn.wave && !this.turn.path?.length && !this.turn.marks)) return;
    const width = Math.max(320, this.panel.clientWidth - 40);
    if (width === this.lastWidth && !again) return;
    this.lastWidth = width;
    this.plotPlace.classList.toggle("clickable", this.player.embedded);
    const { svg, playhead } = plot(this.turn, extent(this.turn, this.whole), width, (at) => {
      if (this.player.embedded) this.player.seek(Math.max(0, (at - this.turn.wave.begin_ms) / 1000));
    });
    this.playhead = playhead;
    this.plotPlace.replaceChildren(svg);
  }

  time(at, playing) {
    if (!this.turn?.wave || !this.player.embedded) return;
    const place = at * 1000 + this.turn.wave.begin_ms;
    this.playhead?.(playing || at > 0 ? place : null);
    if (this.playButton) {
      const word = playing ? "Pause" : "Play";
      if (this.playButton.textContent !== word) this.playButton.textContent = word;
      this.clock.textContent = playing || at > 0 ? `${(place / 1000).toFixed(2)} s` : "";
    }
  }

  trust() {
    const off = this.turn.difference_ms;
    if (off === null || off === undefined) return null;
    const bad = off > data.trust_limit_ms;
    return h("p", { class: `note ${bad ? "bad" : "soft"}` }, `Ledger against recording: ${tenth(off)} ms apart${bad ? ": do not trust the figures of this turn" : ""}.`);
  }

  transcript() {
    const { turn } = this;
    const said = turn.said && turn.said !== turn.user_text ? h("p", { class: "soft" }, "in the script: ", turn.said) : null;
    return h("div", { class: "transcript" },
      h("p", { class: "who user" }, h("b", {}, "User"), h("span", {}, turn.user_text || turn.said || "–"), said),
      h("p", { class: "who agent" }, h("b", {}, "Agent"), h("span", {}, turn.agent_text || "–")),
      (turn.calls ?? []).map((call) => h("p", { class: "who" }, h("b", {}, "Tool"), h("code", {}, `${call.name}(${JSON.stringify(call.args)})`))));
  }

  checks() {
    const { checks } = this.turn;
    if (!checks.length) return null;
    const word = (ok) => (ok === null ? "not held" : ok ? "ok" : "FAILED");
    return h("table", { class: "checks" }, h("caption", {}, "Expected"),
      h("tbody", {}, checks.map((check) => h("tr", {}, h("td", { class: check.ok === false ? "bad" : check.ok ? "good" : "soft" }, word(check.ok)), h("th", { scope: "row" }, check.what), h("td", {}, check.said)))));
  }

  path() {
    const { turn } = this;
    if (!turn.path.length) return h("div", {}, h("h4", {}, "Marks"), this.marks());
    return h("div", {}, h("h4", {}, "Where the time went"),
      h("table", { class: "figures" },
        h("thead", {}, h("tr", {}, ["stage", "ms", "share", "hidden"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, Object.entries(turn.spans).map(([stage, value]) => h("tr", { class: turn.guilty?.[0] === stage ? "guilty" : "" },
          h("th", { scope: "row" }, swatch(stage), STAGE_WORDS[stage]), h("td", {}, tenth(value)), h("td", {}, turn.budget[stage] ? tenth(turn.budget[stage]) : "–"), h("td", {}, turn.hidden[stage] ? tenth(turn.hidden[stage]) : "")))),
        h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "voice to voice"), h("td", {}, tenth(turn.v2v)), h("td", {}, tenth(turn.budget.total)), h("td", {})))),
      h("details", {}, h("summary", {}, "Marks"), this.marks()));
  }

  marks() {
    return h("table", { class: "figures" }, h("tbody", {}, Object.entries(this.turn.marks).map(([mark, at]) => h("tr", {}, h("th", { scope: "row" }, MARK_WORDS[mark]), h("td", {}, at === null ? "did not happen" : tenth(at))))));
  }

  speculation() {
    const { turn } = this;
    const asked = turn.speculation;
    const rows = [
      ["asked", `${asked.requests} request${asked.requests === 1 ? "" : "s"}`],
      ["used", asked.used ? "asked ahead, then played" : "none asked ahead was played"],
      ["thrown away", String(asked.thrown_away)],
      ["tokens wasted", String(asked.tokens_wasted)],
      ["lead over the commit", asked.lead_ms === null ? "–" : ms(asked.lead_ms)],
      ["tokens", turn.tokens.some((n) => n !== null) ? `${turn.tokens[0] ?? "–"} in, ${turn.tokens[1] ?? "–"} out` : "–"],
      ["audio gaps", turn.gaps[0] ? `${turn.gaps[0]} (${ms(turn.gaps[1])})` : "none"],
      ["made by", turn.models.join(", ") || "–"],
    ];
    return h("div", {}, h("h4", {}, "Speculation"), facts(rows));
  }

  evidence() {
    const found = [...Object.entries(this.turn.evidence.facts), ...Object.entries(this.turn.degradation).map(([step, said]) => [`degradation: ${step}`, said])];
    if (!found.length) return null;
    return h("div", {}, h("h4", {}, "The decision"), facts(found.map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : String(value)])));
  }

  passes() {
    const passes = this.turn.evidence?.passes ?? [];
    if (!passes.length) return null;
    return h("details", {}, h("summary", {}, `What was heard meanwhile (${passes.length})`),
      h("table", { class: "figures wide" }, h("thead", {}, h("tr", {}, ["heard up to", "ready at", "score", "text"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, passes.map(([covers, ready, text, score]) => h("tr", {}, h("td", {}, ms(covers)), h("td", {}, ms(ready)), h("td", {}, score === null ? "–" : score.toFixed(1)), h("td", { class: "text" }, text))))));
  }
}

function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function why(turn) {
  if (turn.overlap_ms) return `audible ${ms(turn.overlap_ms)} before the user had finished`;
  if (turn.after_enter_ms !== null && turn.after_enter_ms !== undefined) return `${ms(turn.after_enter_ms)} from Enter`;
  return turn.id === undefined ? "a step without a turn of its own" : "no voice-to-voice time";
}
