// Charts over many turns: how the times are spread, and what moved between two runs.

import { ms, percentile, s, signed, ticks } from "./dom.js";
import { STAGE_WORDS } from "./store.js";

const W = 720;

/** Histogram (bars, turns) with the cumulative share (line) of ascending values; a line at the budget, P50, P95. */
export function distribution(ordered, budget) {
  const H = 280, left = 44, right = 48, top = 46, bottom = 44;
  const high = Math.max(ordered[ordered.length - 1], budget * 1.1);
  const low = Math.min(0, ordered[0]);
  const x = (value) => left + ((value - low) / (high - low)) * (W - left - right);
  const bins = Math.max(8, Math.min(60, Math.ceil(Math.sqrt(ordered.length) * 2.5)));
  const counts = new Array(bins).fill(0);
  for (const value of ordered) counts[Math.min(bins - 1, Math.floor(((value - low) / (high - low)) * bins))]++;
  const most = Math.max(...counts);
  const y = (share) => H - bottom - share * (H - top - bottom);
  const p50 = percentile(ordered, 50), p95 = percentile(ordered, 95);
  const svg = s("svg", {
    viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img",
    "aria-label": `Voice to voice over ${ordered.length} turns: half are within ${ms(p50)}, 95 % within ${ms(p95)}, the longest took ${ms(ordered.at(-1))}.`,
  });
  for (const tick of ticks(low, high, 8)) {
    svg.append(
      s("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: H - bottom }),
      s("text", { x: x(tick), y: H - 26, "text-anchor": "middle" }, `${tick}`),
    );
  }
  svg.append(s("text", { x: W - right, y: H - 8, "text-anchor": "end", class: "soft" }, "ms, voice to voice"));
  for (const share of [0, 0.5, 1]) svg.append(s("text", { x: W - right + 6, y: y(share) + 4, class: "soft" }, `${share * 100} %`));
  for (const tick of ticks(0, most, 3).filter(Number.isInteger)) svg.append(s("text", { x: left - 6, y: y(tick / most) + 4, "text-anchor": "end", class: "soft" }, `${tick}`));
  counts.forEach((n, place) => {
    if (!n) return;
    const begin = low + ((high - low) * place) / bins, end = low + ((high - low) * (place + 1)) / bins;
    svg.append(
      s("rect", { class: begin >= budget ? "bar late" : "bar", x: x(begin) + 0.5, width: Math.max(1, x(end) - x(begin) - 1), y: y(n / most), height: y(0) - y(n / most) },
        s("title", {}, `${Math.round(begin)} to ${Math.round(end)} ms: ${n}`)),
    );
  });
  svg.append(s("path", { class: "ecdf", d: steps(ordered, x, y) }));
  const lines = [[budget, `budget ${Math.round(budget)}`, "budget"], [p50, `P50 ${Math.round(p50)}`, "quantile"], [p95, `P95 ${Math.round(p95)}`, "quantile"]];
  const taken = [];
  for (const [value, text, kind] of lines.sort((a, b) => a[0] - b[0])) {
    const wide = text.length * 7;
    const begin = Math.min(x(value) + 4, W - 2 - wide);
    let row = taken.findIndex((end) => end < begin);
    if (row < 0) row = taken.length;
    taken[row] = begin + wide + 6;
    svg.append(s("line", { class: kind, x1: x(value), x2: x(value), y1: 4 + row * 14, y2: H - bottom }), s("text", { x: begin, y: 13 + row * 14, class: `on ${kind}` }, text));
  }
  return svg;
}

function steps(ordered, x, y) {
  let path = "";
  const stride = Math.max(1, Math.floor(ordered.length / 600));
  let before = 0;
  ordered.forEach((value, place) => {
    if (place % stride && place !== ordered.length - 1) return;
    const share = (place + 1) / ordered.length;
    path += `${path ? "L" : "M"}${x(value).toFixed(1)} ${y(before).toFixed(1)}V${y(share).toFixed(1)}`;
    before = share;
  });
  return path;
}

/** The cumulative shares of two runs on one axis. */
export function twoRuns(before, after, names) {
  const H = 230, left = 52, right = 20, top = 14, bottom = 44;
  const high = Math.max(before.at(-1), after.at(-1)) * 1.05;
  const x = (value) => left + (value / high) * (W - left - right);
  const y = (share) => H - bottom - share * (H - top - bottom);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img",
    "aria-label": `Cumulative shares. Before: P50 ${ms(percentile(before, 50))}. After: P50 ${ms(percentile(after, 50))}.` });
  for (const tick of ticks(0, high, 8)) {
    svg.append(s("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: y(0) }), s("text", { x: x(tick), y: H - 26, "text-anchor": "middle" }, `${tick}`));
  }
  for (const share of [0, 0.5, 1]) svg.append(s("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end", class: "soft" }, `${share * 100} %`));
  [before, after].forEach((values, place) => {
    svg.append(s("path", { class: place ? "ecdf" : "ecdf old", d: steps(values, x, y) }));
    svg.append(s("line", { class: place ? "ecdf" : "ecdf old", x1: W - 190, x2: W - 166, y1: H - 84 + place * 18, y2: H - 84 + place * 18 }));
    svg.append(s("text", { x: W - 160, y: H - 80 + place * 18 }, names[place]));
  });
  svg.append(s("text", { x: W - right, y: H - 8, "text-anchor": "end", class: "soft" }, "ms, voice to voice"));
  return svg;
}

/** Differences with their intervals, one line a stage; the band is the tolerance. */
export function moved(comparison) {
  const rows = [comparison.total, ...comparison.stages].filter(Boolean);
  const H = 34 + rows.length * 26, left = 140, right = 236, top = 8;
  const far = Math.max(...rows.flatMap(({ difference: d, tolerance_ms: t }) => [Math.abs(d.low), Math.abs(d.high), t])) * 1.1 || 1;
  const x = (value) => left + ((value + far) / (2 * far)) * (W - left - right);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": `What moved: ${comparison.text}` });
  for (const tick of ticks(-far, far, 6)) {
    svg.append(s("line", { class: tick === 0 ? "axis" : "grid", x1: x(tick), x2: x(tick), y1: top, y2: H - 24 }), s("text", { x: x(tick), y: H - 8, "text-anchor": "middle" }, signed(tick)));
  }
  rows.forEach((row, place) => {
    const y = top + 14 + place * 26, d = row.difference;
    const kind = row.slower ? "slower" : row.faster ? "faster" : "same";
    const words = row.slower ? "slower" : row.faster ? "faster" : "within tolerance or unsure";
    svg.append(
      s("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: place ? "" : "strong" }, STAGE_WORDS[row.measure] ?? row.measure),
      s("rect", { class: "band", x: x(-row.tolerance_ms), width: x(row.tolerance_ms) - x(-row.tolerance_ms), y: y - 9, height: 18 }),
      s("line", { class: `interval ${kind}`, x1: x(d.low), x2: x(d.high), y1: y, y2: y }),
      s("circle", { class: `interval ${kind}`, cx: x(d.estimate), cy: y, r: 4 }, s("title", {}, words)),
      s("text", { x: W - right + 12, y: y + 4, class: row.slower ? "bad" : "" }, `${signed(d.estimate)} ms [${signed(d.low)}, ${signed(d.high)}]${row.slower ? "  slower" : ""}`),
    );
  });
  return svg;
}
