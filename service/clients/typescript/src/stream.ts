/** Server-sent events through fetch: EventSource could not send the key in a header. */

import { createParser } from "eventsource-parser";

import { Problem } from "./problem.js";
import { pause } from "./retry.js";

export interface StreamedEvent {
  /** The `Last-Event-ID` that goes on behind this event. */
  readonly id: string | null;
  readonly event: string;
  readonly data: unknown;
}

export interface StreamOptions {
  readonly signal?: AbortSignal;
  /** Begin behind this event. */
  readonly after?: string | null;
  /** The stream is over with an event of this name. */
  readonly last?: string;
  readonly onOpen?: () => void;
  /** The stream broke or was refused; it is asked for again after `retryInS`, or never where that is null. */
  readonly onBroken?: (problem: Problem, retryInS: number | null) => void;
}

export type OpenStream = (headers: Record<string, string>, signal: AbortSignal) => Promise<Response>;

const FIRST_RETRY_S = 1;
const LONGEST_RETRY_S = 30;

/** Whether asking again could help: not where the key may not, or there is no such stream. */
function isFinal(problem: Problem): boolean {
  return problem.status >= 400 && problem.status < 500 && problem.status !== 429 && problem.status !== 408;
}

/**
 * Yields the events of a stream until `signal` aborts, or one named `last` came; asks again where it breaks, from
 * the last event that was seen. Throws Problem where it is refused for good.
 */
export async function* streamed(
  open: OpenStream,
  { signal = new AbortController().signal, after = null, last, onOpen, onBroken }: StreamOptions,
): AsyncGenerator<StreamedEvent, void, undefined> {
  let seen = after;
  let retryS = FIRST_RETRY_S;
  while (!signal.aborted) {
    // Closes the connection also where a reader stops early.
    const reading = new AbortController();
    const closing = (): void => reading.abort();
    signal.addEventListener("abort", closing);
    let problem: Problem;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (seen !== null) headers["Last-Event-ID"] = seen;
      const response = await open(headers, reading.signal);
      onOpen?.();
      retryS = FIRST_RETRY_S;
      const found: StreamedEvent[] = [];
      const parser = createParser({
        onEvent: (message) =>
          found.push({
            id: message.id ?? null,
            event: message.event ?? "message",
            data: JSON.parse(message.data),
          }),
      });
      const reader = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        parser.feed(part.value);
        for (const event of found.splice(0)) {
          seen = event.id ?? seen;
          yield event;
          if (event.event === last) return;
        }
      }
      problem = new Problem(0, "stream_ended", "");
    } catch (error) {
      if (signal.aborted) return;
      problem = error instanceof Problem ? error : new Problem(0, "unreachable", "");
    } finally {
      signal.removeEventListener("abort", closing);
      reading.abort();
    }
    if (isFinal(problem)) {
      onBroken?.(problem, null);
      throw problem;
    }
    const waitS = problem.retryAfterS ?? retryS;
    onBroken?.(problem, waitS);
    await pause(waitS, signal);
    retryS = Math.min(2 * retryS, LONGEST_RETRY_S);
  }
}
