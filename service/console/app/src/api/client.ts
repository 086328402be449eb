/** This page's client of the API, and the refusals that it answers with. */

import { Client, Problem } from "halflight-client";

export { answered, form, Problem, problemOf, type Schemas } from "halflight-client";

/** Where the API lies: beside this page, whatever stands before it. Below `/v1/` it is the page's own place. */
export function apiRoot(): string {
  const here = new URL(".", document.baseURI);
  return here.pathname.endsWith("/v1/") ? here.href : new URL("v1/", here).href;
}

let onUnauthorized: () => void = () => undefined;

/** What is called when a key that was let in before is let in no longer. */
export function whenUnauthorized(handler: () => void): void {
  onUnauthorized = handler;
}

/** It sends everything once: whoever waits before a page hears of a refusal at once, and decides. */
export const service = new Client(apiRoot(), { patienceS: 0, onUnauthorized: () => onUnauthorized() });
export const api = service.api;

/** The header that lets a request in; null where the service asks for no key. */
export function authorization(): string | null {
  return service.authorization;
}

export interface StreamHandlers {
  readonly onEvent: (event: { readonly event: string; readonly data: unknown }) => void;
  readonly onOpen?: () => void;
  readonly onBroken?: (problem: Problem, retryInS: number | null) => void;
}

/** Reads a stream for as long as a page is open; what ends it, `onBroken` has told. */
export async function follow(
  path: string,
  signal: AbortSignal,
  { onEvent, ...told }: StreamHandlers,
  last?: string,
): Promise<void> {
  const options = last === undefined ? { signal, ...told } : { signal, last, ...told };
  try {
    for await (const event of service.stream(path, options)) onEvent(event);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}
