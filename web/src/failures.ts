// What can go wrong, in words: what happened, and what to do next.

import { DisconnectReason } from "livekit-client";

export interface Failure {
  title: string;
  detail: string;
  /** What a button under the notice offers. */
  offer: "retry" | "typing" | "sound" | null;
}

/** Why the microphone is not to be had. */
export function microphone(error: unknown): Failure {
  const name = error instanceof Error ? error.name : "";
  if (!window.isSecureContext || !navigator.mediaDevices) {
    return {
      title: "No microphone on this address",
      detail: "Browsers give the microphone only to pages on https or on this computer. Open the page over https, or type instead.",
      offer: "typing",
    };
  }
  if (name === "NotAllowedError" || name === "SecurityError") {
    return {
      title: "The microphone is blocked",
      detail: "This page may not use the microphone. Allow it in the browser’s address bar (the icon beside the address) and call again, or type instead.",
      offer: "typing",
    };
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return {
      title: "No microphone found",
      detail: "Plug one in or switch it on, then call again. You can also type.",
      offer: "typing",
    };
  }
  if (name === "NotReadableError" || name === "AbortError") {
    return {
      title: "The microphone is busy",
      detail: "Another program seems to hold it. Close that program and call again, or type instead.",
      offer: "typing",
    };
  }
  return {
    title: "The microphone did not start",
    detail: `The browser said: ${error instanceof Error ? error.message : String(error)}. Call again, or type instead.`,
    offer: "typing",
  };
}

/** Why the page's own server gave no ticket for a call. `status` is null if it could not be reached at all. */
export function ticket(status: number | null, retryAfterS: number | null): Failure {
  if (status === null) {
    return {
      title: "The server is away",
      detail: "The page’s server does not answer. If you started it yourself, see whether “voice-agent web” still runs; otherwise check your connection.",
      offer: "retry",
    };
  }
  if (status === 429) {
    return {
      title: "Too many calls",
      detail: `The server limits how often calls may start. Try again in ${retryAfterS ?? 60} seconds.`,
      offer: "retry",
    };
  }
  if (status === 403) {
    return {
      title: "This address is not allowed to call",
      detail: "The server takes calls only from the addresses its operator has listed. Open the page at the address that “voice-agent web” printed.",
      offer: null,
    };
  }
  return { title: "The server could not start a call", detail: `It answered with code ${status}. Its own window says why.`, offer: "retry" };
}

export const roomAway: Failure = {
  title: "The call server is away",
  detail: "The page works, but the LiveKit server that carries the sound cannot be reached. If it runs elsewhere, a firewall may be in between.",
  offer: "retry",
};

export const reconnecting: Failure = {
  title: "Connection lost",
  detail: "Trying to get it back. Nothing you say now is heard.",
  offer: null,
};

export function agentMissing(seconds: number): Failure {
  return {
    title: "The agent has not come",
    detail: `Nobody joined the call within ${seconds} s. The agent may still be loading its models, or be busy with other calls. It is still expected; you can also hang up and call again.`,
    offer: "retry",
  };
}

export const agentLeft: Failure = {
  title: "The agent left the call",
  detail: "Its process may have been stopped. Another agent may take over; you can also call again.",
  offer: "retry",
};

export const soundBlocked: Failure = {
  title: "The browser holds the sound back",
  detail: "It plays nothing until you ask for it.",
  offer: "sound",
};

export const noInterrupt: Failure = {
  title: "The agent could not be interrupted",
  detail: "It did not take the request. Speaking over it works too.",
  offer: null,
};

export const noChat: Failure = {
  title: "Your message was not sent",
  detail: "The connection did not take it. Send it again.",
  offer: null,
};

/** Why a call ended that the user did not end; null if that needs no words. */
export function disconnected(reason: DisconnectReason | undefined): Failure | null {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return null;
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return { title: "The call has ended", detail: "The agent’s side closed it.", offer: "retry" };
    case DisconnectReason.SERVER_SHUTDOWN:
      return { title: "The call server was stopped", detail: "The call ended with it. Call again when it is back.", offer: "retry" };
    case DisconnectReason.DUPLICATE_IDENTITY:
    case DisconnectReason.PARTICIPANT_REMOVED:
      return { title: "You were taken out of the call", detail: "The call server ended your part of it.", offer: "retry" };
    default:
      return { title: "The connection was lost", detail: "It could not be restored. Check the network and call again.", offer: "retry" };
  }
}
