/** The client of the Halflight service, for browsers and Node. */

export {
  answered,
  type BulkOptions,
  Client,
  type ClientOptions,
  type DoorTest,
  type EnrolOptions,
  form,
  type IdentifyOptions,
  type LiveEvent,
  type Schemas,
  type SubjectFilter,
  type TrackOptions,
  type VerifyOptions,
} from "./client.js";
export { Problem, problemOf } from "./problem.js";
export type { components, operations, paths } from "./schema.js";
export type { StreamedEvent, StreamOptions } from "./stream.js";
