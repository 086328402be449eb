/** The typed client of the API below `/v1`. */

import createClient, { type Client as TypedFetch } from "openapi-fetch";
import type { Readable } from "openapi-typescript-helpers";

import { Problem, problemFrom, problemOf } from "./problem.js";
import { pause, sendPatiently, unreachable } from "./retry.js";
import type { components, operations, paths } from "./schema.js";
import { type StreamedEvent, type StreamOptions, streamed } from "./stream.js";

/** The bodies of answers, as the client types them. */
export type Schemas = { [Name in keyof components["schemas"]]: Readable<components["schemas"][Name]> };

type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;
type EnrolForm = Omit<
  NonNullable<operations["enroll_enroll_post"]["requestBody"]>["content"]["multipart/form-data"],
  "subject_id" | "images" | "metadata"
>;

export type IdentifyOptions = Query<"identify_identify_post">;
export type TrackOptions = Omit<Query<"decide_track_tracks_post">, "track"> & {
  /** A track with the same key is decided once, even if another process sends it. */
  readonly idempotencyKey?: string;
};
/** Who stands before a door; what is absent is taken as the best case. */
export type DoorTest = Pick<Schemas["DoorTestIn"], "subject_id" | "camera"> & Partial<Schemas["DoorTestIn"]>;
export type VerifyOptions = Query<"verify_verify_post">;
export type SubjectFilter = Omit<Query<"list_subjects_subjects_get">, "cursor" | "limit">;
export type BulkOptions = Query<"enroll_bulk_enroll_bulk_post">;
export type EnrolOptions = EnrolForm & {
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** A request with the same key is done once, even if another process sends it. */
  readonly idempotencyKey?: string;
};

/** What a reader of decisions sees. `place`: `events({ after: place })` goes on behind it. */
export type LiveEvent =
  | { readonly kind: "decision"; readonly place: string; readonly decision: Readonly<Record<string, unknown>> }
  | { readonly kind: "missed"; readonly place: string; readonly count: number | null };

export interface ClientOptions {
  readonly key?: string | null;
  /** For how long all tries of one request may take together; 0 sends everything once. */
  readonly patienceS?: number;
  /** Called when a request is answered 401. */
  readonly onUnauthorized?: () => void;
  readonly fetch?: typeof fetch;
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

const PAGE = 500;
const POLL_S = 0.5;

export class Client {
  /** Every operation of the OpenAPI document by its path, typed; `answered` reads what it returns. */
  readonly api: TypedFetch<paths>;
  readonly #root: string;
  readonly #patienceS: number;
  readonly #fetch: typeof fetch;
  readonly #onUnauthorized: () => void;
  #key: string | null;

  /** `url`: of the service, with or without `/v1`. */
  constructor(url: string, options: ClientOptions = {}) {
    this.#root = url.replace(/\/+$/, "").replace(/\/v1$/, "");
    this.#key = options.key ?? null;
    this.#patienceS = options.patienceS ?? 30;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#onUnauthorized = options.onUnauthorized ?? (() => undefined);
    this.api = createClient<paths>({ baseUrl: this.#root, fetch: (request) => this.#send(request) });
  }

  useKey(key: string | null): void {
    this.#key = key;
  }

  /** The header that lets a request in, for one that is sent without this client; null without a key. */
  get authorization(): string | null {
    return this.#key === null ? null : `Bearer ${this.#key}`;
  }

  async #send(request: Request): Promise<Response> {
    if (this.authorization !== null) request.headers.set("Authorization", this.authorization);
    const response = await sendPatiently(this.#fetch, request, this.#patienceS);
    if (response.status === 401) this.#onUnauthorized();
    return response;
  }

  /** A request below `/v1/` whose answer is read as it comes, such as a stream or a picture. Throws Problem. */
  async raw(path: string, options: RequestInit = {}): Promise<Response> {
    const response = await reached(this.#send(new Request(`${this.#root}/v1/${path}`, options)));
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  /** Events of any stream below `/v1/`. */
  stream(path: string, options: StreamOptions = {}): AsyncGenerator<StreamedEvent, void, undefined> {
    return streamed((headers, signal) => this.raw(path, { headers, signal }), options);
  }

  /** Enrols 1 to 16 photos of a subject. Throws Problem if none of them could be. */
  async enrol(subjectId: string, photos: Blob | readonly Blob[], options: EnrolOptions = {}): Promise<Schemas["EnrolOut"]> {
    const { idempotencyKey = randomKey(), metadata, ...fields } = options;
    const body = form({
      subject_id: subjectId,
      images: photos,
      metadata: metadata === undefined ? null : JSON.stringify(metadata),
      ...texts(fields),
    });
    const params = { header: { "idempotency-key": idempotencyKey } };
    return answered(this.api.POST("/v1/enroll", { params, body: body as never }));
  }

  /** Who is on the picture? An unknown face is an answer. */
  async identify(image: Blob, query: IdentifyOptions = {}): Promise<Schemas["IdentifyOut"]> {
    return answered(this.api.POST("/v1/identify", { params: { query }, body: form({ image }) as never }));
  }

  /** Whose face do these frames of one person show, by their votes? */
  async track(track: string, frames: readonly Blob[], options: TrackOptions = {}): Promise<Schemas["TrackOut"]> {
    const { idempotencyKey = randomKey(), ...query } = options;
    const params = { query: { ...query, track }, header: { "idempotency-key": idempotencyKey } };
    return answered(this.api.POST("/v1/tracks", { params, body: form({ images: frames }) as never }));
  }

  /** Does the picture show the subject, or the face of the other picture? */
  async verify(
    image: Blob,
    against: { readonly subjectId: string } | { readonly reference: Blob },
    query: VerifyOptions = {},
  ): Promise<Schemas["VerifyOut"]> {
    const other = "subjectId" in against ? { subject_id: against.subjectId } : { reference: against.reference };
    return answered(this.api.POST("/v1/verify", { params: { query }, body: form({ image, ...other }) as never }));
  }

  /** Every subject that fits, page by page. */
  async *subjects(wanted: SubjectFilter = {}): AsyncGenerator<Schemas["SubjectOut"], void, undefined> {
    for (let cursor: string | null = null; ; ) {
      const query: Query<"list_subjects_subjects_get"> = { ...wanted, limit: PAGE };
      if (cursor !== null) query.cursor = cursor;
      const page: Schemas["SubjectsOut"] = await answered(this.api.GET("/v1/subjects", { params: { query } }));
      yield* page.subjects;
      if (page.next_cursor === null) return;
      cursor = page.next_cursor;
    }
  }

  async subject(subjectId: string): Promise<Schemas["SubjectDetailOut"]> {
    return answered(this.api.GET("/v1/subjects/{subject_id}", { params: { path: { subject_id: subjectId } } }));
  }

  /** Erases a subject. If the connection breaks meanwhile it may be gone: `eraseMany` may be repeated. */
  async erase(subjectId: string): Promise<Schemas["ReceiptOut"]> {
    return answered(this.api.DELETE("/v1/subjects/{subject_id}", { params: { path: { subject_id: subjectId } } }));
  }

  async eraseMany(subjectIds: readonly string[]): Promise<Schemas["ErasedManyOut"]> {
    return answered(this.api.POST("/v1/subjects/delete", { body: { subject_ids: [...subjectIds] } }));
  }

  /** Every door, its rules and its latest outcomes. Needs the role `admin`, as all of doors. */
  async doors(): Promise<Schemas["DoorsOut"]> {
    return answered(this.api.GET("/v1/admin/doors"));
  }

  /** Makes a door live, or a dry run again; only one whose file says `dry_run = "until-switched"`. */
  async switchDoor(door: string, dryRun: boolean): Promise<Schemas["DoorOut"]> {
    return answered(
      this.api.PUT("/v1/admin/doors/{door}/mode", { params: { path: { door } }, body: { dry_run: dryRun } }),
    );
  }

  /** What the rules of a door that is a dry run say of somebody. Nothing opens. */
  async testDoor(door: string, asked: DoorTest): Promise<Schemas["DoorTestOut"]> {
    const body = asked as Schemas["DoorTestIn"];
    return answered(this.api.POST("/v1/admin/doors/{door}/test", { params: { path: { door } }, body }));
  }

  /** The receivers of events, and what they have not confirmed. Needs the role `admin`. */
  async receivers(): Promise<Schemas["WebhooksOut"]> {
    return answered(this.api.GET("/v1/admin/webhooks"));
  }

  /** Sends dead events again, these or all, to one receiver or all; how many deliveries. */
  async redeliver(eventIds: readonly string[] | null = null, receiver: string | null = null): Promise<number> {
    const body = { event_ids: eventIds && [...eventIds], receiver };
    return (await answered(this.api.POST("/v1/admin/webhooks/replay", { body }))).replayed;
  }

  /** What each watcher last said of itself and its cameras. Needs the role `operator`. */
  async watchers(): Promise<readonly Schemas["WatcherOut"][]> {
    return (await answered(this.api.GET("/v1/watchers"))).watchers;
  }

  /** Sends a zip or tar of many subjects, and returns the job that enrols them. Is never repeated. */
  async enrolArchive(archive: Blob, query: BulkOptions = {}): Promise<Schemas["JobOut"]> {
    const asked = new URLSearchParams(texts(query));
    const headers = { "Content-Type": "application/octet-stream" };
    const response = await this.raw(`enroll/bulk?${asked}`, { method: "POST", body: archive, headers });
    const { job_id } = (await response.json()) as Schemas["SubmittedOut"];
    return this.job(job_id);
  }

  /** A bulk enrolment as it is now. */
  async job(jobId: string): Promise<Schemas["JobOut"]> {
    return answered(this.api.GET("/v1/enroll/bulk/{job_id}", { params: { path: { job_id: jobId } } }));
  }

  /** A bulk enrolment whenever it has changed, last as it ended. */
  async *follow(jobId: string, signal = new AbortController().signal): AsyncGenerator<Schemas["JobOut"], void, undefined> {
    for (let before = ""; !signal.aborted; ) {
      const job = await this.job(jobId);
      const now = JSON.stringify(job);
      if (now !== before) yield job;
      if (job.ended_at !== null) return;
      before = now;
      await pause(POLL_S, signal);
    }
  }

  /** What became of each file of a bulk enrolment, as a CSV or as a page with thumbnails. */
  async report(jobId: string, format: "csv" | "html" = "csv"): Promise<string> {
    return (await this.raw(`enroll/bulk/${encodeURIComponent(jobId)}/report?format=${format}`)).text();
  }

  /** Each decision of the service as it is made; taken up again where the stream breaks. */
  async *events(options: StreamOptions & { readonly recent?: number } = {}): AsyncGenerator<LiveEvent, void, undefined> {
    for await (const { id, event, data } of this.stream(`events?recent=${options.recent ?? 0}`, options)) {
      const place = id ?? "";
      const said = data as Record<string, unknown>;
      if (event === "decision") yield { kind: "decision", place, decision: said };
      if (event === "missed") yield { kind: "missed", place, count: said["count"] as number | null };
      if (event === "end" && said["reason"] === "unauthorized")
        throw new Problem(401, "unauthorized", "the key of this stream was revoked or has expired");
    }
  }
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
    if (error instanceof Problem || (error instanceof DOMException && error.name === "AbortError")) throw error;
    throw unreachable(error);
  }
}

/** A form as the body of a typed request: the types know its fields, `FormData` writes it. */
export function form(fields: Readonly<Record<string, string | Blob | readonly Blob[] | null>>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) continue;
    if (typeof value === "string") data.append(name, value);
    // A file's name may reveal whose face it shows, and the service does not need it.
    else for (const blob of value instanceof Blob ? [value] : value) data.append(name, blob, "image");
  }
  return data;
}

/** Unlike `randomUUID`, this is there on pages without TLS too. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function texts(options: Readonly<Record<string, unknown>>): Record<string, string> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}
