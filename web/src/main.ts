// The page: wires the controls, the call, the conversation and the waterfall together.

import { Room } from "livekit-client";

import { type AgentState, Call } from "./call";
import { byId } from "./dom";
import type { Failure } from "./failures";
import { UsageList } from "./usage";
import { Waterfall } from "./waterfall";
import { Conversation } from "./words";

const STATE_WORDS: Record<AgentState | "off", string> = {
  off: "Not in a call",
  connecting: "Connecting",
  waiting: "Waiting for the agent",
  reconnecting: "Reconnecting",
  initializing: "The agent is getting ready",
  idle: "Ready",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  gone: "The agent is gone",
};

const button = (id: string): HTMLButtonElement => byId(id, HTMLButtonElement);
const ui = {
  state: byId("state", HTMLElement),
  stateWords: byId("state-words", HTMLElement),
  notice: byId("notice", HTMLElement),
  noticeTitle: byId("notice-title", HTMLElement),
  noticeDetail: byId("notice-detail", HTMLElement),
  offer: button("notice-offer"),
  dismiss: button("notice-dismiss"),
  secretForm: byId("secret-form", HTMLFormElement),
  secret: byId("secret", HTMLInputElement),
  secretHint: byId("secret-hint", HTMLElement),
  call: button("call"),
  callWords: byId("call-words", HTMLElement),
  mute: button("mute"),
  muteWords: byId("mute-words", HTMLElement),
  interrupt: button("interrupt"),
  device: byId("device", HTMLSelectElement),
  meter: byId("meter", HTMLMeterElement),
  level: byId("level", HTMLElement),
  chat: byId("chat", HTMLFormElement),
  chatText: byId("chat-text", HTMLInputElement),
  send: button("send"),
};
const conversation = new Conversation(byId("words", HTMLOListElement), byId("words-spoken", HTMLElement), byId("words-empty", HTMLElement));
const waterfall = new Waterfall({
  bars: byId("bars", HTMLOListElement),
  axis: byId("axis", HTMLElement),
  spread: byId("spread", HTMLElement),
  figures: byId("figures", HTMLElement),
  legend: byId("legend", HTMLElement),
  note: byId("turns-note", HTMLElement),
  empty: byId("turns-empty", HTMLElement),
  panel: byId("turns-panel", HTMLElement),
  tip: byId("tip", HTMLElement),
  spoken: byId("turns-spoken", HTMLElement),
});
const usages = new UsageList(byId("usages", HTMLUListElement));

let call: Call | null = null;
let offered: Failure["offer"] = null;
let typingOnly = false;

function showState(state: AgentState | "off"): void {
  ui.state.dataset.state = state;
  if (ui.stateWords.textContent !== STATE_WORDS[state]) ui.stateWords.textContent = STATE_WORDS[state];
  ui.interrupt.disabled = state !== "speaking" && state !== "thinking";
  const there = call !== null && ["idle", "listening", "thinking", "speaking"].includes(state);
  ui.chatText.disabled = ui.send.disabled = !there;
}

function showFailure(failure: Failure | null): void {
  offered = failure?.offer ?? null;
  if (!failure) {
    ui.notice.hidden = true;
    return;
  }
  ui.noticeTitle.textContent = failure.title;
  ui.noticeDetail.textContent = failure.detail;
  ui.offer.hidden = offered === null;
  ui.offer.textContent = offered === "retry" ? "Call again" : offered === "typing" ? "Type instead" : "Turn the sound on";
  ui.notice.hidden = false;
}

function showControls(): void {
  const on = call !== null;
  ui.call.classList.toggle("hangup", on);
  ui.callWords.textContent = on ? "Hang up" : "Call";
  ui.mute.disabled = !on || !call?.hasMicrophone;
  const muted = on && call?.hasMicrophone === true && call.muted;
  ui.mute.setAttribute("aria-pressed", String(muted));
  ui.muteWords.textContent = muted ? "Unmute" : "Mute";
}

function showLevel(level: number): void {
  const shown = Math.min(1, level * 1.6);
  ui.level.style.transform = `scaleX(${shown.toFixed(3)})`;
  ui.meter.value = shown;
}

/** The list of microphones; browsers name them only once one has been allowed. */
async function showDevices(): Promise<void> {
  const found = navigator.mediaDevices ? await Room.getLocalDevices("audioinput", false).catch(() => []) : [];
  const chosen = ui.device.value;
  const named = found.filter((device) => device.deviceId && device.deviceId !== "default" && device.label);
  ui.device.replaceChildren(new Option("Default microphone", ""), ...named.map((d) => new Option(d.label, d.deviceId)));
  ui.device.value = named.some((device) => device.deviceId === chosen) ? chosen : "";
}

async function begin(): Promise<void> {
  if (call) return;
  showFailure(null);
  ui.secretForm.hidden = true;
  conversation.clear();
  waterfall.clear();
  usages.show([]);
  const mine: Call = new Call({
    state: (state) => {
      if (call === mine) showState(state);
      showControls();
    },
    words: (words) => conversation.show(words),
    turn: (turn) => waterfall.add(turn),
    usage: (found) => usages.show(found),
    level: showLevel,
    failure: showFailure,
    secretWanted: (wrong) => {
      ui.secretForm.hidden = false;
      ui.secretHint.textContent = wrong
        ? "That secret is not the right one."
        : "This server asks for the secret that its operator has set.";
      ui.secret.focus();
    },
    ended: () => {
      if (call !== mine) return;
      call = null;
      showState("off");
      showControls();
      showLevel(0);
    },
  });
  call = mine;
  showControls();
  await mine.start(typingOnly ? null : ui.device.value, ui.secret.value);
  await showDevices();
  showControls();
}

async function end(): Promise<void> {
  showFailure(null);
  await call?.hangUp();
}

ui.call.addEventListener("click", () => {
  typingOnly = false;
  void (call ? end() : begin());
});
ui.mute.addEventListener("click", () => {
  void call?.setMuted(!call.muted).then(showControls);
});
ui.interrupt.addEventListener("click", () => void call?.interrupt());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !ui.interrupt.disabled) void call?.interrupt();
});
ui.device.addEventListener("change", () => void call?.useMicrophone(ui.device.value));
ui.dismiss.addEventListener("click", () => showFailure(null));
ui.offer.addEventListener("click", () => {
  if (offered === "sound") return void call?.sound();
  typingOnly = offered === "typing";
  void end().then(begin);
});
ui.secretForm.addEventListener("submit", (event) => {
  event.preventDefault();
  void begin();
});
ui.chat.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = ui.chatText.value.trim();
  if (!text || !call) return;
  void call.say(text).then((sent) => {
    if (sent) ui.chatText.value = "";
  });
});
navigator.mediaDevices?.addEventListener("devicechange", () => void showDevices());
window.addEventListener("pagehide", () => void call?.hangUp());

showState("off");
showControls();
void showDevices();
