/** Which requests are sent again, and when. */

import { Problem, retryAfterS } from "./problem.js";

/** What can be sent again: `always`; `unless-done`, only where the service certainly did nothing; `never`. */
export type Repeat = "always" | "unless-done" | "never";

const FIRST_WAIT_S = 0.25;
const LONGEST_WAIT_S = 8;
const JITTER = 0.25;
const ASKING = /\/(identify|verify|detect|embed|subjects\/delete|merge)$/;
const GATEWAY = [502, 503, 504];

export function repeatOf(request: Request): Repeat {
  if (request.method === "GET" || request.method === "HEAD") return "always";
  if (request.method === "DELETE" || request.method === "PATCH" || request.method === "PUT") return "unless-done";
  return request.headers.has("idempotency-key") || ASKING.test(new URL(request.url).pathname) ? "always" : "never";
}

/**
 * Sends a request, again if that is safe and useful, for `patienceS` at most: never sooner than `Retry-After`
 * asks, and up to a quarter later, so that not all clients come back at once. Throws Problem where the service
 * cannot be reached.
 */
export async function sendPatiently(send: typeof fetch, request: Request, patienceS: number): Promise<Response> {
  const repeat = repeatOf(request);
  const until = performance.now() + patienceS * 1000;
  for (let tries = 0; ; tries++) {
    const mayRepeat = repeat !== "never" && patienceS > 0;
    let response: Response | null = null;
    let problem: Problem | null = null;
    try {
      response = await send(mayRepeat ? request.clone() : request);
    } catch (error) {
      if (request.signal.aborted || isAbort(error)) throw error;
      problem = unreachable(error);
    }
    const longestS = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** Math.min(tries, 10));
    let waitS = longestS * (1 - JITTER * Math.random());
    if (response !== null) {
      const askedS = retryAfterS(response);
      if (!(await helps(response, askedS, repeat))) return response;
      if (askedS !== null) waitS = askedS * (1 + JITTER * Math.random());
    }
    const over = performance.now() + waitS * 1000 > until;
    if (problem !== null && (over || !(repeat === "always" || (repeat === "unless-done" && problem.code === "refused"))))
      throw problem;
    if (response !== null && (over || !mayRepeat)) return response;
    await response?.body?.cancel();
    await pause(waitS, request.signal);
  }
}

/** Whether to ask again: the service said when, or a proxy answered for it and asking changes nothing. */
async function helps(response: Response, askedS: number | null, repeat: Repeat): Promise<boolean> {
  if (response.status !== 429 && !GATEWAY.includes(response.status)) return false;
  const own = response.headers.get("content-type")?.startsWith("application/problem+json") ?? false;
  return own ? askedS !== null : repeat === "always";
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && (error.name === "AbortError" || error.name === "TimeoutError");
}

/** `refused` where nobody listened, as Node tells; else what was asked may have been done. */
export function unreachable(error: unknown): Problem {
  const cause = error instanceof Error ? (error.cause as { code?: unknown } | undefined) : undefined;
  const code = cause?.code === "ECONNREFUSED" ? "refused" : "unreachable";
  return new Problem(0, code, error instanceof Error ? error.message : "");
}

/** Waits, at most until `signal` aborts. */
export function pause(seconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", done);
  });
}
