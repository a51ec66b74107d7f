// Builds the page and applies the filter.

import { h } from "./dom.js";
import { data, view } from "./store.js";
import { TurnPanel } from "./turn.js";
import { TurnList } from "./list.js";
import { about, cards, comparisons, head, spread, table } from "./runs.js";

const page = document.getElementById("page");
const cardPlace = h("div"), spreadPlace = h("div", { class: "spread" });
const moving = comparisons();

const options = (pairs) => pairs.map(([value, text]) => h("option", { value }, text));
const runs = h("select", { onchange: () => pick(runs.value === "all" ? "all" : Number(runs.value)) },
  options([["all", "all runs"], ...data.runs.map((run, number) => [number, run.label])]));
const show = h("select", { onchange: () => { view.show = show.value; list.refresh(); } },
  options([["all", "all turns"], ["failed", "failed, cut off, unanswered"], ["late", "over budget"], ["counted", "counted for latency"], ["interrupted", "interrupted"], ["warm", "warm-up"]]));
const sort = h("select", { onchange: () => { view.sort = sort.value; list.refresh(); } }, options([["order", "in order"], ["slow", "slowest first"]]));
const search = h("input", { type: "search", placeholder: "words", oninput: () => { view.text = search.value; list.refresh(); } });
const status = h("span", { class: "soft", role: "status" });
const box = h("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": "Turns: arrow keys choose, Enter opens" });
const panel = h("section", { class: "panel", "aria-labelledby": "turn-title" });
const paper = h("div", { class: "paper-place" });

page.replaceChildren(
  h("a", { class: "skip", href: "#turns" }, "To the turns"),
  head(),
  h("main", {},
    cardPlace,
    h("section", {}, h("h2", {}, "Runs"), table((number) => { runs.value = String(number); pick(number); }), about()),
    h("section", {}, h("h2", {}, "Voice to voice"), spreadPlace),
    moving.length > 0 && h("section", {}, h("h2", {}, "What moved"), moving),
    h("section", { id: "turns" }, h("h2", {}, "Turns"),
      h("div", { class: "bar-of-tools" },
        h("label", {}, "Run", runs), h("label", {}, "Show", show), h("label", {}, "Order", sort), h("label", {}, "Find", search), status,
        h("span", { class: "keys soft" }, h("kbd", {}, "↑"), h("kbd", {}, "↓"), " choose ", h("kbd", {}, "Enter"), " open ", h("kbd", {}, "←"), h("kbd", {}, "→"), " next ", h("kbd", {}, "P"), " play ", h("kbd", {}, "Z"), " zoom ", h("kbd", {}, "Esc"), " back")),
      h("div", { class: "split" }, box, panel), paper),
    data.notes.length > 0 && h("section", {}, h("h2", {}, "Notes"), h("ul", {}, data.notes.map((note) => h("li", {}, note))))),
  h("footer", { class: "soft" }, "Voice to voice: from the user's last sound to the agent's first. How it is measured: docs/ledger.md. This page loads nothing from anywhere."),
);

const turnPanel = new TurnPanel(panel);
const list = new TurnList(box, status, (turn) => turnPanel.show(turn), () => document.getElementById("turn-title")?.focus());

function pick(run) {
  view.run = run;
  cardPlace.replaceChildren(cards());
  spreadPlace.replaceChildren(...spread());
  list.refresh();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, audio")) return;
  const inPanel = panel.contains(event.target);
  if (!inPanel && event.target !== box) return;
  const open = (by) => {
    list.step(by);
    document.getElementById("turn-title")?.focus();
  };
  if (event.key === "Escape" && inPanel) box.focus();
  else if (event.key === "ArrowRight" && inPanel) open(1);
  else if (event.key === "ArrowLeft" && inPanel) open(-1);
  else if (event.key === "p" && turnPanel.player.embedded) turnPanel.player.toggle();
  else if (event.key === "z" && list.current) turnPanel.zoom();
  else return;
  event.preventDefault();
});

// On paper there is no scrolling: all rows, as a table.
window.addEventListener("beforeprint", () => paper.replaceChildren(list.printed()));
window.addEventListener("afterprint", () => paper.replaceChildren());

// Of two runs of one script it is the later one that is looked at; the earlier is beside it under "What moved".
const begin = data.pairs.length === 1 && data.runs.length === 2 ? data.pairs[0].after : "all";
runs.value = String(begin);
pick(begin);
