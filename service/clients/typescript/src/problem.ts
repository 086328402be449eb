/** What can go wrong with a request (RFC 9457). Holds neither the key nor a picture. */

/** A refusal of the service, or that it could not be reached (`status` 0). `more`: the whole body. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly more: Readonly<Record<string, unknown>> = {},
    readonly retryAfterS: number | null = null,
  ) {
    super(detail);
  }
}

/** The problem that a response is; of one of a proxy, the code is `http_` and its status. */
export async function problemOf(response: Response): Promise<Problem> {
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    // A proxy's page, no answer of the service.
  }
  return problemFrom(body, response);
}

export function problemFrom(said: unknown, response: Response): Problem {
  const body = typeof said === "object" && said !== null ? (said as Record<string, unknown>) : {};
  const code = typeof body["code"] === "string" ? body["code"] : `http_${response.status}`;
  const detail = typeof body["detail"] === "string" ? body["detail"] : response.statusText;
  return new Problem(response.status, code, detail, body, retryAfterS(response));
}

/** The seconds that `Retry-After` asks for, as a number or as a date; null without one. */
export function retryAfterS(response: Response): number | null {
  const text = response.headers.get("retry-after")?.trim() ?? "";
  if (/^\d+$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, (at - Date.now()) / 1000);
}
