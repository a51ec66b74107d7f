// A turn on one time axis: waterfall and marks, both sides' sound, and the turn policy's evidence.

import { bytes, h, ms, s, stageClass, ticks } from "./dom.js";
import { MARK_WORDS, STAGE_WORDS } from "./store.js";

const GUTTER = 132, RIGHT = 14, ROW = 22, LABEL = 15;

/** From and to, in ms after the user's last sound: the wait alone, or all that there is of the turn. */
export function extent(turn, whole) {
  const at = Object.values(turn.marks ?? {}).filter((value) => value !== null);
  const heard = turn.marks?.first_audible ?? Math.max(0, ...at);
  if (whole && turn.wave) {
    const length = (bytes(turn.wave.user).length || bytes(turn.wave.agent).length) * turn.wave.step_ms;
    return [turn.wave.begin_ms, turn.wave.begin_ms + length];
  }
  if (whole && turn.evidence?.vad?.length) return [turn.evidence.vad[0][0], Math.max(heard + 1500, turn.evidence.vad.at(-1)[0])];
  const begin = Math.min(-400, Math.max(-2500, Math.min(0, ...at) - 150));
  return [begin, Math.max(heard, 0, ...at) + 450];
}

/** The drawing, `width` pixels wide. `onSeek`: called with the milliseconds of a click. */
export function plot(turn, [from, to], width, onSeek) {
  const x = (value) => GUTTER + ((value - from) / (to - from)) * (width - GUTTER - RIGHT);
  const inside = (value) => value >= from && value <= to;
  const clamp = (value) => Math.max(from, Math.min(to, value));
  const body = s("g");
  const grid = s("g");
  let y = 6;
  const chartRow = (name, height, note) => {
    body.append(s("text", { x: 0, y: y + (note ? 13 : height / 2 + 4), class: "row-name" }, name));
    if (note) body.append(s("text", { x: 0, y: y + 27, class: "soft small" }, note));
    y += height + 8;
    return y - height - 8;
  };

  // The marks' names, in as many rows as keep them apart.
  const marks = Object.entries({ ...turn.marks, acknowledged: turn.acknowledged_ms ?? null }).filter(([, at]) => at !== null && inside(at)).sort((a, b) => a[1] - b[1]);
  const ends = [];
  for (const [mark, at] of marks) {
    const text = `${MARK_WORDS[mark]} ${Math.round(at)}`;
    const wide = text.length * 6.1 + 8;
    const begin = x(at) + 3 + wide > width ? x(at) - 3 - wide : x(at) + 3;
    let row = ends.findIndex((end) => end < begin);
    if (row < 0) row = ends.length;
    ends[row] = begin + wide;
    grid.append(s("line", { class: `mark ${mark}`, x1: x(at), x2: x(at), y1: y + row * LABEL + 4, y2: "100%" }));
    body.append(s("text", { x: begin, y: y + row * LABEL + 11, class: "small halo" }, text));
  }
  y += Math.max(1, ends.length) * LABEL + 6;

  // The waterfall.
  for (const [stage, first, last, begin, end, hidden] of turn.path ?? []) {
    if (end - begin <= 0 && hidden <= 0) continue;
    const top = chartRow(STAGE_WORDS[stage] ?? stage, ROW - 8);
    const label = `${STAGE_WORDS[stage]}: ${MARK_WORDS[first]} to ${MARK_WORDS[last]}`;
    const absolute = (turn.path[0]?.[3] ?? 0);
    const b = begin - absolute, e = end - absolute;
    if (hidden > 0 && clamp(b - hidden) < clamp(b)) {
      body.append(s("rect", { class: `hidden-work ${stageClass(stage)}`, x: x(clamp(b - hidden)), width: x(clamp(b)) - x(clamp(b - hidden)), y: top, height: ROW - 8, rx: 2 },
        s("title", {}, `${label}: ${ms(hidden)} while the user still spoke: no latency`)));
    }
    if (e > b) body.append(s("rect", { class: stageClass(stage), x: x(clamp(b)), width: Math.max(1.5, x(clamp(e)) - x(clamp(b))), y: top, height: ROW - 8, rx: 2 }, s("title", {}, `${label}: ${ms(end - begin)}`)));
    if (e > b) {
      const text = ms(e - b);
      const right = x(clamp(e)) + 6 + text.length * 6.5 < width;
      body.append(s("text", { class: "small halo", x: right ? x(clamp(e)) + 6 : x(clamp(b)) - 6, "text-anchor": right ? "start" : "end", y: top + 11 }, text));
    }
  }
  if (turn.v2v !== null && turn.v2v !== undefined && turn.budget && inside(turn.budget.total)) {
    grid.append(s("line", { class: "budget", x1: x(turn.budget.total), x2: x(turn.budget.total), y1: 6, y2: "100%" }));
    body.append(s("text", { class: "small halo budget-word", x: x(turn.budget.total) - 4, "text-anchor": "end", y: y + 6 }, `budget ${turn.budget.total}`));
    y += 10;
  }

  // Both sides' sound.
  if (turn.wave) {
    for (const [side, name] of [["user", "user"], ["agent", "agent"]]) {
      const top = chartRow(name, 46);
      body.append(s("path", { class: `wave ${side}`, d: envelope(bytes(turn.wave[side]), turn.wave, x, from, to, top + 23, 22, width) }));
      body.append(s("line", { class: "grid", x1: GUTTER, x2: width - RIGHT, y1: top + 23, y2: top + 23 }));
    }
  }

  // The evidence of the turn policy.
  const evidence = turn.evidence ?? {};
  if (evidence.vad?.some(([at]) => inside(at))) {
    const top = chartRow("speech", 40, "probability");
    const level = (p) => top + 40 - (p / 100) * 40;
    const points = evidence.vad.filter(([at]) => at >= from - 64 && at <= to + 64);
    body.append(s("line", { class: "threshold", x1: GUTTER, x2: width - RIGHT, y1: level(50), y2: level(50) }));
    body.append(s("path", { class: "vad", d: `M${points.map(([at, p]) => `${x(clamp(at)).toFixed(1)} ${level(p).toFixed(1)}`).join("L")}` }));
  }
  const passes = (evidence.passes ?? []).filter(([, ready]) => inside(ready));
  if (passes.some((pass) => pass[3] !== null)) {
    const top = chartRow("end of turn", 40, "log probability");
    const level = (score) => top + 40 - ((Math.max(-12, score) + 12) / 12) * 40;
    body.append(s("line", { class: "grid", x1: GUTTER, x2: width - RIGHT, y1: level(0), y2: level(0) }), s("line", { class: "grid", x1: GUTTER, x2: width - RIGHT, y1: level(-12), y2: level(-12) }));
    body.append(s("text", { class: "small soft", x: GUTTER - 4, "text-anchor": "end", y: level(0) + 8 }, "0"), s("text", { class: "small soft", x: GUTTER - 4, "text-anchor": "end", y: level(-12) }, "−12"));
    const scored = passes.filter((pass) => pass[3] !== null);
    body.append(s("path", { class: "score-line", d: scored.map(([, ready, , score], place) => (place ? `H${x(ready).toFixed(1)}V${level(score).toFixed(1)}` : `M${x(ready).toFixed(1)} ${level(score).toFixed(1)}`)).join("") }));
    for (const [, ready, text, score] of scored) body.append(s("circle", { class: "score", cx: x(ready), cy: level(score), r: 3.5 }, s("title", {}, `“${text}”: ${score}`)));
  }

  // The axis.
  const height = y + 22;
  const axis = s("g");
  for (const tick of ticks(from, to, Math.max(3, (width - GUTTER) / 90))) {
    grid.prepend(s("line", { class: tick === 0 ? "axis" : "grid", x1: x(tick), x2: x(tick), y1: 6, y2: y }));
    axis.append(s("text", { x: x(tick), y: height - 6, "text-anchor": "middle", class: "small soft" }, to - from > 4000 ? `${tick / 1000} s` : `${tick}`));
  }
  axis.append(s("text", { x: 0, y: height - 6, class: "small soft" }, to - from > 4000 ? "s after speech" : "ms after speech"));
  for (const each of grid.children) if (each.getAttribute("y2") === "100%") each.setAttribute("y2", y);
  const head = s("line", { class: "head", x1: 0, x2: 0, y1: 6, y2: y, visibility: "hidden" });
  const svg = s("svg", { class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words(turn) }, grid, body, axis, head);
  svg.addEventListener("click", (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    if (at > GUTTER) onSeek(from + ((at - GUTTER) / (width - GUTTER - RIGHT)) * (to - from));
  });
  const playhead = (at) => {
    head.setAttribute("visibility", at !== null && inside(at) ? "visible" : "hidden");
    if (at !== null) for (const end of ["x1", "x2"]) head.setAttribute(end, x(clamp(at)));
  };
  return { svg, playhead };
}

function envelope(levels, wave, x, from, to, middle, half, width) {
  const first = Math.max(0, Math.floor((from - wave.begin_ms) / wave.step_ms));
  const last = Math.min(levels.length, Math.ceil((to - wave.begin_ms) / wave.step_ms));
  const stride = Math.max(1, Math.floor((last - first) / width));
  let path = "";
  for (let i = first; i < last; i += stride) {
    let level = 0;
    for (let j = i; j < Math.min(last, i + stride); j++) level = Math.max(level, levels[j]);
    const size = Math.max(0, (level - 85) / 170) ** 1.6 * half; // below -40 dBFS nothing is heard
    if (size < 0.4) continue;
    const at = wave.begin_ms + i * wave.step_ms;
    const left = Math.max(from, at), right = Math.min(to, at + stride * wave.step_ms);
    if (right > left) path += `M${x(left).toFixed(1)} ${(middle - size).toFixed(1)}H${x(right).toFixed(1)}V${(middle + size).toFixed(1)}H${x(left).toFixed(1)}Z`;
  }
  return path;
}


function words(turn) {
  if (turn.v2v === null || turn.v2v === undefined) return "This turn has no voice-to-voice time.";
  const parts = Object.entries(turn.spans).filter(([, value]) => value > 0).map(([stage, value]) => `${STAGE_WORDS[stage]} ${ms(value)}`);
  return `Waterfall: ${ms(turn.v2v)} from the user's last sound to the agent's first: ${parts.join(", ")}. The tables below have the same figures.`;
}

export function swatch(stage) {
  return h("span", { class: `swatch ${stageClass(stage)}`, "aria-hidden": "true" });
}
