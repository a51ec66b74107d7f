// Plays the sound of a turn: mu-law from the page, or a part of the recording beside it.

import { bytes } from "./dom.js";
import { audio } from "./store.js";

const LEVELS = Float32Array.from({ length: 256 }, (_, code) => {
  const value = ~code & 0xff;
  const size = ((((value & 0x0f) << 3) + 0x84) << ((value >> 4) & 7)) - 0x84;
  return ((value & 0x80) ? -size : size) / 32768;
});

export class Player {
  constructor(onTime) {
    this.onTime = onTime; // seconds into the stretch, or null: stopped
    this.muted = { user: false, agent: false };
    this.playing = false;
    this.at = 0;
  }

  load(number, wave) {
    this.stop();
    this.at = 0;
    this.number = number;
    this.wave = wave;
    this.buffers = null;
  }

  get embedded() {
    return document.getElementById(`a${this.number}`) !== null;
  }

  decode() {
    const stored = audio(this.number);
    this.length = stored.samples / stored.rate;
    this.buffers = {};
    for (const side of ["user", "agent"]) {
      const buffer = this.context.createBuffer(1, Math.max(1, stored.samples), stored.rate);
      const channel = buffer.getChannelData(0);
      for (const [at, text] of stored[side]) {
        const codes = bytes(text);
        for (let i = 0; i < codes.length && at + i < channel.length; i++) channel[at + i] = LEVELS[codes[i]];
      }
      this.buffers[side] = buffer;
    }
  }

  play(from = this.at) {
    this.stop();
    this.context ??= new AudioContext();
    this.context.resume();
    if (!this.buffers) this.decode();
    if (from >= this.length - 0.05) from = 0;
    this.gains = {};
    this.sources = ["user", "agent"].map((side) => {
      const gain = this.context.createGain();
      gain.gain.value = this.muted[side] ? 0 : 1;
      gain.connect(this.context.destination);
      this.gains[side] = gain;
      const source = this.context.createBufferSource();
      source.buffer = this.buffers[side];
      source.connect(gain);
      source.start(0, from);
      return source;
    });
    this.sources[0].onended = () => this.playing && this.length - this.now() < 0.1 && this.stop(0);
    this.began = this.context.currentTime - from;
    this.playing = true;
    const step = () => {
      if (!this.playing) return;
      this.onTime(this.now(), true);
      requestAnimationFrame(step);
    };
    step();
  }

  now() {
    return this.playing ? Math.min(this.length, this.context.currentTime - this.began) : this.at;
  }

  stop(at = this.now()) {
    if (this.playing) {
      this.playing = false;
      for (const source of this.sources) source.stop();
    }
    this.at = at ?? 0;
    this.onTime(this.at, false);
  }

  toggle() {
    if (this.playing) this.stop();
    else this.play();
  }

  seek(seconds) {
    if (this.playing) this.play(seconds);
    else this.stop(seconds);
  }

  mute(side, on) {
    this.muted[side] = on;
    if (this.playing) this.gains[side].gain.value = on ? 0 : 1;
  }
}
