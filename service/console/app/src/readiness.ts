/** Whether the service can match, asked for every few seconds. */

import { signal } from "@preact/signals";

import { service, Problem, type Schemas } from "./api/client";

export type Readiness = Omit<Schemas["ReadyOut"], "status"> & {
  readonly status: Schemas["ReadyOut"]["status"] | "unreachable";
};

export const readiness = signal<Readiness | null>(null);

export async function refreshReadiness(): Promise<void> {
  try {
    const response = await service.raw("health/ready");
    readiness.value = (await response.json()) as Readiness;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    // The answer of a service that is not ready is no problem document, but the same type as if it were.
    const told = error.more as Partial<Readiness>;
    readiness.value = {
      ...told,
      status: error.status === 0 ? "unreachable" : "not_ready",
      detail: typeof told.detail === "string" ? told.detail : null,
    };
  }
}
