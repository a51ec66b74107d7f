// Two helpers around the DOM: finding what index.html promises, and making elements without innerHTML.

export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export const percent = (share: number): string => `${Math.max(0, Math.min(100, share * 100)).toFixed(3)}%`;
export const ms = (value: number): string => `${Math.round(value)} ms`;
