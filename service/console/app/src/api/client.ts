/** The typed client of the API below `/v1`, and the refusals that it answers with (RFC 9457). */

import createClient, { type Middleware } from "openapi-fetch";
import type { Readable } from "openapi-typescript-helpers";

import type { components, paths } from "./schema";

/** The bodies of answers, as the client types them. */
export type Schemas = { [Name in keyof components["schemas"]]: Readable<components["schemas"][Name]> };

/** Where the API lies: beside this page, whatever stands before it. Below `/v1/` it is the page's own place. */
export function apiRoot(): string {
  const here = new URL(".", document.baseURI);
  return here.pathname.endsWith("/v1/") ? here.href : new URL("v1/", here).href;
}

/** A refusal of the service, or that it could not be reached (`status` 0). */
export class Problem extends Error {
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

let token: string | null = null;
let onUnauthorized: () => void = () => undefined;

export function useToken(key: string | null): void {
  token = key;
}

/** What is called when a key that was let in before is let in no longer. */
export function whenUnauthorized(handler: () => void): void {
  onUnauthorized = handler;
}

/** The header that lets a request in; null where the service asks for no key. */
export function authorization(): string | null {
  return token === null ? null : `Bearer ${token}`;
}

const withKey: Middleware = {
  onRequest({ request }) {
    if (token !== null) request.headers.set("Authorization", `Bearer ${token}`);
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: apiRoot().replace(/\/v1\/$/, "") });
api.use(withKey);

export async function problemOf(response: Response): Promise<Problem> {
  const seconds = Number(response.headers.get("retry-after"));
  const retryAfterS = Number.isFinite(seconds) && seconds > 0 ? seconds : null;
  let body: Record<string, unknown> = {};
  try {
    const read: unknown = await response.json();
    if (typeof read === "object" && read !== null) body = read as Record<string, unknown>;
  } catch {
    // A proxy's page, no answer of the service.
  }
  const code = typeof body["code"] === "string" ? body["code"] : `http_${response.status}`;
  const detail = typeof body["detail"] === "string" ? body["detail"] : response.statusText;
  if (response.status === 401) onUnauthorized();
  return new Problem(response.status, code, detail, body, retryAfterS);
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of an answer. Throws Problem for a refusal and for a service that cannot be reached. */
export async function answered<T>(asked: Promise<Answer<T>>): Promise<NonNullable<T>> {
  const { data, error, response } = await reached(asked);
  if (response.ok && data !== undefined && data !== null) return data;
  throw problemFrom(error, response);
}

async function reached<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", error instanceof Error ? error.message : "");
  }
}

function problemFrom(error: unknown, response: Response): Problem {
  const body = typeof error === "object" && error !== null ? (error as Record<string, unknown>) : {};
  const code = typeof body["code"] === "string" ? body["code"] : `http_${response.status}`;
  const detail = typeof body["detail"] === "string" ? body["detail"] : response.statusText;
  const seconds = Number(response.headers.get("retry-after"));
  if (response.status === 401) onUnauthorized();
  return new Problem(response.status, code, detail, body, seconds > 0 ? seconds : null);
}

/** A request whose answer the console reads as it comes, such as a stream or a picture. */
export async function fetchRaw(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  const response = await reached(fetch(new URL(path, apiRoot()), { ...options, headers }));
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** A form as the body of a typed request: the types know its fields, the browser writes it. */
export function form(fields: Readonly<Record<string, string | Blob | readonly Blob[] | null>>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) continue;
    if (typeof value === "string") data.append(name, value);
    else for (const blob of value instanceof Blob ? [value] : value) data.append(name, blob, nameOf(blob));
  }
  return data;
}

function nameOf(blob: Blob): string {
  return blob instanceof File ? blob.name : "image";
}
