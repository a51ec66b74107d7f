// One call: the LiveKit room, the microphone, what the agent sends. Knows nothing of the page.

import {
  createAudioAnalyser,
  createLocalAudioTrack,
  type LocalAudioTrack,
  type Participant,
  type RemoteParticipant,
  Room,
  RoomEvent,
  type TextStreamReader,
  Track,
} from "livekit-client";

import * as failures from "./failures";
import type { Failure } from "./failures";
import { parseTurn, type Turn } from "./turns";
import { parseUsage, type Usage } from "./usage";

export type AgentState = "connecting" | "waiting" | "reconnecting" | "initializing" | "idle" | "listening" | "thinking" | "speaking" | "gone";

export interface Words {
  who: "you" | "agent";
  segment: string;
  text: string;
  final: boolean;
}

/** What the page is told while a call lasts. */
export interface Listener {
  state(state: AgentState): void;
  words(words: Words): void;
  turn(turn: Turn): void;
  usage(usages: Usage[]): void;
  level(level: number): void;
  /** null: the notice that stands may go. */
  failure(failure: Failure | null): void;
  /** A ticket needs the operator's secret. */
  secretWanted(wrong: boolean): void;
  ended(): void;
}

interface Ticket {
  url: string;
  token: string;
  agent_timeout_s: number;
}

const STATES: readonly string[] = ["initializing", "idle", "listening", "thinking", "speaking"];
const TOPIC_TURN = "voice_agent.turn";
const TOPIC_USAGE = "voice_agent.usage";
const RPC_INTERRUPT = "voice_agent.interrupt";

export class SecretWanted extends Error {}

async function fetchTicket(secret: string): Promise<Ticket> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (secret) headers.Authorization = `Bearer ${secret}`;
  let response: Response;
  try {
    response = await fetch("api/token", { method: "POST", headers, body: "{}", cache: "no-store" });
  } catch {
    throw failures.ticket(null, null);
  }
  if (response.status === 401) throw new SecretWanted();
  if (!response.ok) {
    const wait = Number(response.headers.get("Retry-After"));
    throw failures.ticket(response.status, wait > 0 ? wait : null);
  }
  return (await response.json()) as Ticket;
}

export class Call {
  readonly room = new Room();
  private track: LocalAudioTrack | null = null;
  private stopLevel: (() => void) | null = null;
  private agentTimer: number | undefined;
  private connected = false;
  private timeoutS = 10;
  private hungUp = false;
  private over = false;

  constructor(private readonly to: Listener) {}

  /** Get the microphone (`deviceId` "" is the default one; null: none, typing only), then the ticket, then the room. */
  async start(deviceId: string | null, secret: string): Promise<void> {
    this.to.state("connecting");
    if (deviceId !== null) {
      try {
        this.track = await createLocalAudioTrack({
          ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
          echoCancellation: true,
          noiseSuppression: true,
          autoGainControl: true,
        });
      } catch (error) {
        return this.fail(failures.microphone(error));
      }
      if (this.hungUp) return this.finish();
      this.watchLevel(this.track);
    }
    let ticket: Ticket;
    try {
      ticket = await fetchTicket(secret);
    } catch (error) {
      if (error instanceof SecretWanted) {
        this.to.secretWanted(secret !== "");
        return this.finish();
      }
      return this.fail(error as Failure);
    }
    if (this.hungUp) return this.finish();
    this.timeoutS = ticket.agent_timeout_s;
    this.listen();
    try {
      await this.room.connect(ticket.url, ticket.token);
      this.connected = true;
      if (this.track) await this.room.localParticipant.publishTrack(this.track, { source: Track.Source.Microphone });
    } catch {
      if (this.hungUp || this.over) return this.finish();
      return this.fail(failures.roomAway);
    }
    this.lookForAgent();
    if (!this.room.canPlaybackAudio) this.to.failure(failures.soundBlocked);
  }

  async hangUp(): Promise<void> {
    this.hungUp = true;
    await this.room.disconnect();
    this.finish();
  }

  get muted(): boolean {
    return this.track?.isMuted ?? true;
  }

  get hasMicrophone(): boolean {
    return this.track !== null;
  }

  async setMuted(muted: boolean): Promise<void> {
    if (muted) await this.track?.mute();
    else await this.track?.unmute();
  }

  async useMicrophone(deviceId: string): Promise<void> {
    if (!this.track) return;
    try {
      await this.track.setDeviceId(deviceId || "default");
      this.watchLevel(this.track);
    } catch (error) {
      this.to.failure(failures.microphone(error));
    }
  }

  async sound(): Promise<void> {
    await this.room.startAudio();
    this.to.failure(null);
  }

  async interrupt(): Promise<void> {
    const agent = this.agent();
    if (!agent) return;
    try {
      await this.room.localParticipant.performRpc({
        destinationIdentity: agent.identity,
        method: RPC_INTERRUPT,
        payload: "",
        responseTimeout: 3000,
      });
    } catch {
      this.to.failure(failures.noInterrupt);
    }
  }

  async say(text: string): Promise<boolean> {
    try {
      const info = await this.room.localParticipant.sendText(text, { topic: "lk.chat" });
      this.to.words({ who: "you", segment: info.id, text, final: true });
      return true;
    } catch {
      this.to.failure(failures.noChat);
      return false;
    }
  }

  private agent(): RemoteParticipant | undefined {
    return [...this.room.remoteParticipants.values()].find((participant) => participant.isAgent);
  }

  private listen(): void {
    const room = this.room;
    room
      .on(RoomEvent.TrackSubscribed, (track) => {
        if (track.kind === Track.Kind.Audio) track.attach();
      })
      .on(RoomEvent.TrackUnsubscribed, (track) => {
        for (const element of track.detach()) element.remove();
      })
      .on(RoomEvent.AudioPlaybackStatusChanged, () => {
        if (!room.canPlaybackAudio) this.to.failure(failures.soundBlocked);
      })
      .on(RoomEvent.ParticipantConnected, () => this.lookForAgent())
      .on(RoomEvent.ParticipantAttributesChanged, (_, who: Participant) => {
        if (who.isAgent) this.showState(who);
      })
      .on(RoomEvent.ParticipantDisconnected, (who) => {
        if (!who.isAgent || this.agent()) return;
        this.to.state("gone");
        this.to.failure(failures.agentLeft);
      })
      .on(RoomEvent.SignalReconnecting, () => this.broken())
      .on(RoomEvent.Reconnecting, () => this.broken())
      .on(RoomEvent.Reconnected, () => {
        this.to.failure(null);
        this.lookForAgent();
      })
      .on(RoomEvent.Disconnected, (reason) => {
        if (this.over || !this.connected) return; // a connection that never stood is reported by start()
        const failure = this.hungUp ? null : failures.disconnected(reason);
        this.to.failure(failure);
        this.finish();
      })
      .on(RoomEvent.DataReceived, (payload, from, _kind, topic) => {
        if (topic === TOPIC_TURN && from?.isAgent) this.takeTurn(new TextDecoder().decode(payload));
      });
    room.registerTextStreamHandler(TOPIC_TURN, async (reader, from) => {
      if (this.room.remoteParticipants.get(from.identity)?.isAgent) this.takeTurn(await reader.readAll());
    });
    room.registerTextStreamHandler(TOPIC_USAGE, async (reader, from) => {
      if (!this.room.remoteParticipants.get(from.identity)?.isAgent) return;
      const usages = parseUsage(await reader.readAll());
      if (usages) this.to.usage(usages);
    });
    room.registerTextStreamHandler("lk.transcription", (reader, from) => {
      void this.takeWords(reader, from.identity);
    });
  }

  private broken(): void {
    this.to.state("reconnecting");
    this.to.failure(failures.reconnecting);
  }

  private takeTurn(json: string): void {
    const turn = parseTurn(json);
    if (turn) this.to.turn(turn);
  }

  private async takeWords(reader: TextStreamReader, identity: string): Promise<void> {
    const who = identity === this.room.localParticipant.identity ? "you" : "agent";
    const attributes = reader.info.attributes ?? {};
    const segment = attributes["lk.segment_id"] ?? reader.info.id;
    const final = attributes["lk.transcription_final"] === "true";
    let text = "";
    try {
      for await (const piece of reader) {
        text += piece;
        this.to.words({ who, segment, text, final: false });
      }
    } catch {
      // The sender went away in mid-stream; what has come is shown.
    }
    // The agent's words come as one stream a segment, the user's as one stream a revision.
    if (text) this.to.words({ who, segment, text, final: final || who === "agent" });
  }

  private lookForAgent(): void {
    const agent = this.agent();
    if (agent) {
      window.clearTimeout(this.agentTimer);
      this.agentTimer = undefined;
      if (this.room.canPlaybackAudio) this.to.failure(null);
      this.showState(agent);
      return;
    }
    this.to.state("waiting");
    if (this.agentTimer === undefined) {
      this.agentTimer = window.setTimeout(() => {
        if (!this.agent()) this.to.failure(failures.agentMissing(this.timeoutS));
      }, this.timeoutS * 1000);
    }
  }

  private showState(agent: Participant): void {
    const state = agent.attributes["lk.agent.state"] ?? "initializing";
    this.to.state(STATES.includes(state) ? (state as AgentState) : "listening");
  }

  private watchLevel(track: LocalAudioTrack): void {
    this.stopLevel?.();
    const { calculateVolume, cleanup } = createAudioAnalyser(track, { cloneTrack: true, smoothingTimeConstant: 0.6 });
    const timer = window.setInterval(() => this.to.level(track.isMuted ? 0 : calculateVolume()), 80);
    this.stopLevel = () => {
      window.clearInterval(timer);
      void cleanup();
      this.to.level(0);
    };
  }

  private fail(failure: Failure): void {
    this.to.failure(failure);
    this.finish();
  }

  private finish(): void {
    if (this.over) return;
    this.over = true;
    window.clearTimeout(this.agentTimer);
    this.stopLevel?.();
    this.track?.stop();
    void this.room.disconnect();
    this.to.ended();
  }
}
