// What is always visible: the verdict, a table of the runs, the distribution of the times, what moved.

import { count, h, ms, percentile, tenth } from "./dom.js";
import { data, latencies, ofRun, STAGE_WORDS, STAGES, view } from "./store.js";
import { distribution, moved, twoRuns } from "./charts.js";
import { swatch } from "./plot.js";

const limit = data.trust_limit_ms;

export function head() {
  const { verdict } = data;
  const first = data.runs.find((run) => run.began);
  const simulated = [...new Set(data.runs.flatMap((run) => run.simulated))];
  const machine = data.runs.find((run) => run.machine.cpu)?.machine;
  return h("header", { class: "top" },
    h("p", { class: "mark" }, h("span", { class: "logo", "aria-hidden": "true" }, h("i"), h("i"), h("i"), h("i")), "voice-agent report"),
    h("h1", {}, data.title),
    h("div", { class: `verdict ${verdict.tone}`, role: verdict.tone === "bad" ? "alert" : "status" }, h("strong", {}, verdict.word), h("span", {}, verdict.text)),
    h("p", { class: "chips" },
      simulated.map((part) => h("span", { class: "chip sim" }, `simulated: ${part}`)),
      first && h("span", { class: "chip" }, new Date(first.began * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })),
      machine && h("span", { class: "chip" }, `${machine.cpu}, ${count(machine.cores, "core")}`),
      h("span", { class: "chip" }, audioWords())));
}

function audioWords() {
  const { embedded, of, limit_mb } = data.audio;
  if (!of) return "no recording";
  return embedded === of ? `sound of ${count(of, "turn")} inside` : `sound of ${embedded} of ${count(of, "turn")} inside (limit ${limit_mb} MB), the rest from the recording`;
}

export function cards() {
  const turns = data.turns.filter((turn) => ofRun(turn) && !turn.warm && turn.id !== undefined);
  const times = latencies();
  const runs = data.runs.filter((_, number) => view.run === "all" || view.run === number);
  const has = (flag) => turns.filter((turn) => (turn.flags ?? []).includes(flag)).length;
  const late = turns.filter((turn) => turn.guilty && turn.counts).length;
  const only = runs.length === 1 ? runs[0].figures : {};
  const between = (name) => (only[name]?.low == null ? `n = ${times.length}${only[name] ? ": too few for an interval" : ""}` : `95 %: ${Math.round(only[name].low)} to ${Math.round(only[name].high)}`);
  const checked = runs.filter((run) => run.self_check.worst_ms !== null);
  const worst = checked.length ? Math.max(...checked.map((run) => run.self_check.worst_ms)) : null;
  const requests = runs.reduce((sum, run) => sum + run.requests, 0), wasted = runs.reduce((sum, run) => sum + run.wasted, 0);
  const card = (name, value, note, bad = false) => h("div", { class: `card ${bad ? "bad" : ""}` }, h("dt", {}, name), h("dd", {}, value, h("small", {}, note)));
  return h("dl", { class: "cards" },
    card("P50 voice to voice", times.length ? ms(percentile(times, 50)) : "–", between("p50_ms")),
    card("P95 voice to voice", times.length ? ms(percentile(times, 95)) : "–", between("p95_ms")),
    card("Cut off", `${has("cut off")} of ${turns.length}`, `${has("no answer")} unanswered, ${has("failed")} failed`, has("cut off") > 0),
    card("Over budget", `${late} of ${times.length}`, `budget ${[...new Set(runs.map((run) => run.budget_ms))].join(", ")} ms`),
    card("Requests a turn", turns.length ? (requests / turns.length).toFixed(1) : "–", `${count(wasted, "token")} wasted`),
    card("Ledger vs. recording", worst === null ? "not checked" : `${tenth(worst)} ms`, worst === null ? "no recording" : `worst of ${count(checked.reduce((sum, run) => sum + run.self_check.turns, 0), "turn")}, limit ${limit} ms`, worst !== null && worst > limit));
}

export function table(onRun) {
  const heads = ["run", "result", "P50 ms", "P95 ms", "n", "cut off", "self-check ms", "against the baseline"];
  const figure = (f) => (f ? [h("b", {}, Math.round(f.estimate)), h("span", { class: "soft" }, f.low === null ? "" : ` ${Math.round(f.low)}–${Math.round(f.high)}`)] : "–");
  return h("div", { class: "scroll" }, h("table", { class: "runs" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, data.runs.map((run, number) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => onRun(number) }, run.label), h("span", { class: "soft guards" }, run.guards || run.kind)),
      h("td", {}, result(run)),
      h("td", {}, figure(run.figures.p50_ms)), h("td", {}, figure(run.figures.p95_ms)), h("td", {}, latencies(number).length),
      h("td", { class: run.cut_offs ? "bad" : "" }, `${run.cut_offs} of ${run.turns}`),
      h("td", { class: run.self_check.trusted ? "" : "bad" }, tenth(run.self_check.worst_ms)),
      h("td", { class: "text" }, run.comparison ? run.comparison.text : "–"))))));
}

function result(run) {
  if (run.error) return h("span", { class: "pill bad" }, "error");
  if (run.interrupted) return h("span", { class: "pill bad" }, "interrupted");
  if (!run.judged) return h("span", { class: "pill" }, "measured");
  return h("span", { class: `pill ${run.passed ? "good" : "bad"}` }, run.passed ? "passed" : "failed");
}

export function about() {
  return data.runs.map((run) => h("details", { class: "about" },
    h("summary", {}, h("b", {}, run.label), ` ${run.failures.length ? count(run.failures.length, "expectation") + " failed" : "settings, machine, notes"}`),
    run.error && h("p", { class: "note bad" }, run.error),
    run.failures.length > 0 && h("ul", {}, run.failures.map((f) => h("li", {}, f.line ? `step ${f.step}, line ${f.line}: ` : "whole: ", h("b", {}, f.what), `: ${f.said}`))),
    run.notes.length > 0 && h("ul", {}, run.notes.map((note) => h("li", {}, note))),
    h("dl", { class: "facts" }, [
      ["kind", run.target ? `${run.kind}, through ${run.target}` : run.kind], ["file", run.script], ["seed", String(run.seed)],
      ["machine", Object.entries(run.machine).map(([name, value]) => `${name} ${value}`).join(", ") || "–"],
      ["versions", Object.entries(run.versions).map(([name, value]) => `${name} ${value}`).join(", ") || "–"],
      ["settings that are not the default", Object.entries(run.settings).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join(", ") || "none"],
    ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))));
}

export function spread() {
  const times = latencies();
  if (!times.length) return [h("p", { class: "soft" }, "No turn here has a voice-to-voice time that counts.")];
  const budget = data.runs[view.run === "all" ? 0 : view.run].budget_ms;
  const left = data.turns.filter((turn) => ofRun(turn) && turn.id !== undefined && !turn.counts);
  const cut = left.filter((turn) => (turn.flags ?? []).includes("cut off") && !turn.warm).length;
  const q = (at) => Math.round(percentile(times, at));
  const shown = [50, 75, 90, 95, ...(times.length >= 100 ? [99] : [])];
  return [
    h("figure", {}, distribution(times, budget),
      h("figcaption", {}, shown.map((at) => `P${at} ${q(at)}`).join(", "), `, max ${q(100)} ms; n = ${times.length}, cut off ${cut}. Exact percentiles, linear between neighbours.`,
        left.length ? ` Not in it: ${count(left.length, "turn")} cut off, failed, unanswered, typed or for warming up.` : "", h("span", { class: "key" }, h("i", { class: "k-bar" }), "turns (left axis)", h("i", { class: "k-line" }), "share within (right axis)"))),
    stages(),
  ];
}

function stages() {
  const turns = data.turns.filter((turn) => ofRun(turn) && turn.counts && turn.spans.length);
  const rows = STAGES.map((stage, place) => [stage, turns.map((turn) => turn.spans[place]).sort((a, b) => a - b)]);
  const most = Math.max(...rows.map(([, values]) => percentile(values, 95)), 1);
  return h("table", { class: "figures stages" }, h("caption", {}, "Where the time goes"),
    h("thead", {}, h("tr", {}, ["stage", "P50", "P95", "max", ""].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map(([stage, values]) => {
      const bar = h("span", { class: "range", "aria-hidden": "true" }, h("i", { class: `s-${stage} pale` }), h("i", { class: `s-${stage}` }));
      [95, 50].forEach((at, place) => (bar.children[place].style.width = `${(percentile(values, at) / most) * 100}%`));
      return h("tr", {}, h("th", { scope: "row" }, swatch(stage), STAGE_WORDS[stage]), [50, 95, 100].map((at) => h("td", {}, percentile(values, at).toFixed(0))), h("td", { class: "bars" }, bar));
    })));
}

export function comparisons() {
  const stored = data.runs.filter((run) => run.comparison?.total).map((run) => h("article", {},
    h("h3", {}, `${run.name}: this run and its baseline`), h("p", { class: tone(run.comparison.outcome) }, run.comparison.text), h("figure", {}, moved(run.comparison), key())));
  const pairs = data.pairs.map((pair) => {
    const [before, after] = [data.runs[pair.before], data.runs[pair.after]];
    const times = [latencies(pair.before), latencies(pair.after)];
    const { names } = pair;
    const row = (name, of) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, of(before, times[0])), h("td", {}, of(after, times[1])));
    const q = (values, at) => (values.length ? ms(percentile(values, at)) : "–");
    return h("article", {}, h("h3", {}, before.name === after.name ? `${before.name}: ${names.join(" and ")}` : `${before.name} and ${after.name}`),
      h("p", { class: tone(pair.outcome) }, pair.text),
      h("div", { class: "columns" },
        h("figure", {}, times[0].length && times[1].length ? twoRuns(times[0], times[1], names) : null, pair.total ? moved(pair) : null, key()),
        h("div", {}, h("table", { class: "figures" }, h("thead", {}, h("tr", {}, ["", ...names].map((name) => h("th", { scope: "col" }, name)))),
          h("tbody", {}, row("P50", (_, t) => q(t, 50)), row("P95", (_, t) => q(t, 95)), row("n", (_, t) => t.length), row("cut off", (run) => `${run.cut_offs} of ${run.turns}`), row("tokens wasted", (run) => run.wasted), row("self-check", (run) => (run.self_check.worst_ms === null ? "–" : `${tenth(run.self_check.worst_ms)} ms`)))),
          h("details", {}, h("summary", {}, "Turn by turn (medians)"), h("table", { class: "figures" }, h("tbody", {}, pair.items.map((item) => h("tr", {}, h("th", { scope: "row", class: "text" }, item.item), h("td", {}, ms(item.before_ms)), h("td", {}, ms(item.after_ms)), h("td", { class: "soft" }, `n ${item.n.join(", ")}`)))))))));
  });
  return [...pairs, ...stored];
}

const tone = (outcome) => `note ${outcome === "regression" ? "bad" : outcome === "passed" ? "good" : "warn"}`;
const key = () => h("figcaption", {}, "Difference in ms with its 95 % interval; the band is the tolerance. What a stage did, whether or not anybody waited for it.");
