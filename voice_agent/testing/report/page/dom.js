// Elements and numbers. Text is only ever set as text: nothing of a conversation becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`on*`: listeners; null and false: left out) and children (strings become text). */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);
export const tenth = (value) => (value === null || value === undefined ? "–" : value.toFixed(1));
export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(Math.round(value))}`;
export const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
export const stageClass = (stage) => `s-${stage}`;

/** The q-th percentile of ascending values, linear between neighbours (Hyndman and Fan 7, as in the ledger). */
export function percentile(ordered, q) {
  const place = ((ordered.length - 1) * q) / 100;
  const below = Math.floor(place);
  const low = ordered[below];
  return low + (ordered[Math.min(below + 1, ordered.length - 1)] - low) * (place - below);
}

/** Steps of 1, 2 or 5 times a power of ten, about `wanted` of them between two values. */
export function ticks(from, to, wanted) {
  const rough = (to - from) / Math.max(1, wanted);
  const base = 10 ** Math.floor(Math.log10(rough || 1));
  const step = base * (rough / base > 5 ? 10 : rough / base > 2 ? 5 : rough / base > 1 ? 2 : 1);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to + step * 1e-6; at += step) found.push(Math.round(at * 1e6) / 1e6);
  return found;
}

export function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
