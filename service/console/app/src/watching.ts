/** A job as it goes on: its events, until it is over. */

import { useEffect } from "preact/hooks";

import { answered, api, follow, type Schemas } from "./api/client";
import { type Action, announce, type Loaded, useAction, useLoad } from "./hooks";
import { t } from "./texts";

export type Job = Schemas["JobOut"];

export function isOver(job: Job): boolean {
  return job.state === "succeeded" || job.state === "failed" || job.state === "cancelled";
}

export interface Watched {
  readonly found: Loaded<Job>;
  readonly cancelling: Action<[]>;
}

export function useJob(id: string): Watched {
  const found = useLoad(() => answered(api.GET("/v1/admin/jobs/{job_id}", { params: { path: { job_id: id } } })), [id]);
  const { data: job, put, reload } = found;
  const over = job === null || isOver(job);
  useEffect(() => {
    if (over) return undefined;
    const stopping = new AbortController();
    void follow(
      `admin/jobs/${encodeURIComponent(id)}/events`,
      stopping.signal,
      {
        onEvent: ({ event, data }) => {
          if (event === "end") {
            announce(t("job.over"));
            reload();
          } else if (job) put({ ...job, ...(data as Partial<Job>) });
        },
      },
      "end",
    );
    return () => stopping.abort();
  }, [id, over]);
  const cancelling = useAction(async () => {
    put(await answered(api.POST("/v1/admin/jobs/{job_id}/cancel", { params: { path: { job_id: id } } })));
  });
  return { found, cancelling };
}
