/** Server-sent events through fetch: EventSource could not send the key in a header. */

import { createParser } from "eventsource-parser";

import { fetchRaw, Problem } from "./client";

export interface StreamedEvent {
  readonly id: string | null;
  readonly event: string;
  readonly data: unknown;
}

export interface StreamHandlers {
  readonly onEvent: (event: StreamedEvent) => void;
  readonly onOpen?: () => void;
  /** The stream broke or was refused; it is asked for again after `retryInS`, or never where that is null. */
  readonly onBroken?: (problem: Problem, retryInS: number | null) => void;
}

const FIRST_RETRY_S = 1;
const LONGEST_RETRY_S = 30;

/** Whether asking again could help: not where the key may not, or there is no such stream. */
function isFinal(problem: Problem): boolean {
  return problem.status >= 400 && problem.status < 500 && problem.status !== 429 && problem.status !== 408;
}

/**
 * Reads a stream until `signal` aborts, or an event named `last` came; asks again where it breaks, from the
 * last event that it saw.
 */
export async function follow(
  path: string,
  signal: AbortSignal,
  { onEvent, onOpen, onBroken }: StreamHandlers,
  last: string | null = null,
): Promise<void> {
  let seen: string | null = null;
  let retryS = FIRST_RETRY_S;
  while (!signal.aborted) {
    let ended = false;
    let problem: Problem;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (seen !== null) headers["Last-Event-ID"] = seen;
      const response = await fetchRaw(path, { signal, headers });
      onOpen?.();
      retryS = FIRST_RETRY_S;
      const parser = createParser({
        onEvent: (message) => {
          seen = message.id ?? seen;
          if (message.event === last) ended = true;
          onEvent({ id: message.id ?? null, event: message.event ?? "message", data: JSON.parse(message.data) });
        },
      });
      const reader = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) parser.feed(part.value);
      if (ended) return;
      problem = new Problem(0, "stream_ended", "");
    } catch (error) {
      if (signal.aborted) return;
      problem = error instanceof Problem ? error : new Problem(0, "unreachable", "");
    }
    if (isFinal(problem)) {
      onBroken?.(problem, null);
      return;
    }
    const waitS = problem.retryAfterS ?? retryS;
    onBroken?.(problem, waitS);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitS * 1000);
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    });
    retryS = Math.min(2 * retryS, LONGEST_RETRY_S);
  }
}
