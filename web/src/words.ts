// The conversation: both sides' words as they come.

import type { Words } from "./call";
import { make } from "./dom";

export class Conversation {
  private readonly lines = new Map<string, { item: HTMLLIElement; text: HTMLParagraphElement }>();

  /** `spoken` is a hidden live region: it gets whole sentences only, not every revision of them. */
  constructor(
    private readonly list: HTMLOListElement,
    private readonly spoken: HTMLElement,
    private readonly empty: HTMLElement,
  ) {}

  clear(): void {
    this.lines.clear();
    this.list.replaceChildren();
    this.spoken.replaceChildren();
    this.empty.hidden = false;
  }

  show(words: Words): void {
    const text = words.text.trim();
    if (!text) return;
    this.empty.hidden = true;
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 48;
    const key = `${words.who} ${words.segment}`;
    let line = this.lines.get(key);
    if (!line) {
      const who = words.who === "you" ? "You" : "Agent";
      const paragraph = make("p", "words");
      const item = make("li", `line ${words.who}`, make("span", "who", who), paragraph);
      line = { item, text: paragraph };
      this.lines.set(key, line);
      this.list.append(item);
    }
    line.text.textContent = text;
    line.item.classList.toggle("interim", !words.final);
    if (words.final) {
      this.spoken.append(make("p", "", `${words.who === "you" ? "You" : "Agent"}: ${text}`));
      while (this.spoken.childElementCount > 6) this.spoken.firstElementChild?.remove();
    }
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}
