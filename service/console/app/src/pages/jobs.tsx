/** Long work: trainings, evaluations, backfills. With an id in the address, one of them as it goes on. */

import { useState } from "preact/hooks";

import { answered, api } from "../api/client";
import { factsOf } from "../calibration/facts";
import { Badge, Button, Card, Empty, Loading, Moment, Note, PageHead, Table, type Tone } from "../components/basics";
import { DetChart } from "../components/chart";
import { ProblemNote } from "../components/problem";
import { number, percent } from "../format";
import { useInterval, useLoad } from "../hooks";
import { href, route } from "../route";
import { t } from "../texts";
import { isOver, type Job, useJob } from "../watching";
import { EvaluateDialog, RetrainDialog } from "./training";

const TONES: Readonly<Record<Job["state"], Tone>> = {
  queued: "neutral",
  running: "info",
  succeeded: "good",
  failed: "bad",
  cancelled: "warn",
};
const EVERY_MS = 3000;

export function JobState({ job }: { job: Job }) {
  return <Badge tone={TONES[job.state]}>{t(`job.${job.state}`)}</Badge>;
}

export function Progress({ job }: { job: Pick<Job, "progress" | "stage"> }) {
  const told = percent(job.progress, 0);
  return (
    <span class="progress">
      <progress max={1} value={job.progress} aria-label={t("progress")}>
        {told}
      </progress>
      <span class="number">{told}</span>
      <span class="told">{job.stage}</span>
    </span>
  );
}

export function JobsPage() {
  const [, id] = route.value;
  return id === undefined ? <JobList /> : <JobDetail key={id} id={id} />;
}

function JobList() {
  const found = useLoad(() => answered(api.GET("/v1/admin/jobs", { params: { query: { limit: 100 } } })), []);
  const [dialog, setDialog] = useState<"retrain" | "evaluate" | null>(null);
  const jobs = found.data?.jobs ?? [];
  useInterval(found.reload, EVERY_MS, jobs.some((job) => !isOver(job)));
  return (
    <>
      <PageHead title={t("jobs")} lead={t("jobs.lead")}>
        <Button onClick={() => setDialog("evaluate")}>{t("evaluate")}</Button>
        <Button kind="primary" onClick={() => setDialog("retrain")}>
          {t("retrain")}
        </Button>
      </PageHead>
      {found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />}
      {!found.data && !found.problem && <Loading />}
      {found.data && jobs.length === 0 && (
        <Empty title={t("jobs.none")}>
          <p>{t("jobs.none.do")}</p>
        </Empty>
      )}
      {jobs.length > 0 && (
        <Table label={t("jobs")} heads={[t("job"), t("state"), t("progress"), t("created"), t("ended")]}>
          {jobs.map((job) => (
            <tr key={job.job_id}>
              <td>
                <a href={href("jobs", job.job_id)}>{job.kind}</a>
                <br />
                <span class="told mono">{job.job_id.slice(0, 13)}</span>
              </td>
              <td>
                <JobState job={job} />
              </td>
              <td>
                <Progress job={job} />
              </td>
              <td>
                <Moment at={job.created_at} />
              </td>
              <td>
                <Moment at={job.ended_at} />
              </td>
            </tr>
          ))}
        </Table>
      )}
      {dialog === "retrain" && <RetrainDialog onClose={() => setDialog(null)} />}
      {dialog === "evaluate" && <EvaluateDialog onClose={() => setDialog(null)} />}
    </>
  );
}

function JobDetail({ id }: { id: string }) {
  const { found, cancelling } = useJob(id);
  const { data: job, reload } = found;
  return (
    <>
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href={href("jobs")}>{t("jobs")}</a>
      </nav>
      {found.problem && !job && (
        <>
          <h1 tabIndex={-1}>{id}</h1>
          <ProblemNote problem={found.problem} onRetry={reload} />
        </>
      )}
      {!job && !found.problem && <Loading />}
      {job && (
        <>
          <PageHead title={job.kind} lead={<span class="mono">{job.job_id}</span>}>
            <JobState job={job} />
            {!isOver(job) && (
              <Button kind="danger" busy={cancelling.busy} disabled={job.cancel_requested} onClick={() => void cancelling.run()}>
                {t(job.cancel_requested ? "job.cancelling" : "job.cancel")}
              </Button>
            )}
          </PageHead>
          {cancelling.problem && <ProblemNote problem={cancelling.problem} />}
          <Card title={t("progress")}>
            <Progress job={job} />
            {job.message && <p lang="en">{job.message}</p>}
            <dl class="facts">
              <dt>{t("created")}</dt>
              <dd>
                <Moment at={job.created_at} />
              </dd>
              <dt>{t("started")}</dt>
              <dd>
                <Moment at={job.started_at} />
              </dd>
              <dt>{t("ended")}</dt>
              <dd>
                <Moment at={job.ended_at} />
              </dd>
            </dl>
            {typeof job.metrics["space_id"] === "string" && (
              <p>
                <a href={href("spaces")}>{t("job.space", { id: job.metrics["space_id"] })}</a>
              </p>
            )}
          </Card>
          {factsOf(job.metrics) && (
            <Note title={t("calibration.made")}>
              <p>
                <a href={href("thresholds", "calibrate", job.job_id)}>{t("calibration.show")}</a>
              </p>
            </Note>
          )}
          <Curves metrics={job.metrics} />
          {Object.keys(job.metrics).length > 0 && (
            <Card title={t("figures")}>
              <Figures value={job.metrics} />
            </Card>
          )}
          <Card title={t("asked")}>
            <pre>{JSON.stringify(job.request, null, 1)}</pre>
          </Card>
        </>
      )}
    </>
  );
}

interface ThinnedCurve {
  readonly condition: string;
  readonly x: readonly number[];
  readonly y: readonly number[];
}

function curvesOf(value: unknown): readonly ThinnedCurve[] {
  const isCurve = (each: unknown): each is ThinnedCurve =>
    typeof each === "object" && each !== null && "condition" in each && "x" in each && "y" in each;
  return Array.isArray(value) ? value.filter(isCurve) : [];
}

function Curves({ metrics }: { metrics: Job["metrics"] }) {
  const det = curvesOf(metrics["det"]);
  if (det.length === 0) return null;
  const curves = det.map((each) => ({
    name: each.condition,
    points: each.x.map((x, index): [number, number] => [x, each.y[index] ?? 0]),
  }));
  return (
    <Card title={t("det")}>
      <DetChart curves={curves} title={t("det.title")} />
    </Card>
  );
}

/** What a job measured, as a tree: its shape is the kind's own. Curves are drawn elsewhere. */
function Figures({ value }: { value: Readonly<Record<string, unknown>> }) {
  return (
    <dl class="facts">
      {Object.entries(value)
        .filter(([name]) => name !== "det" && name !== "cmc")
        .map(([name, each]) => (
          <Figure key={name} name={name} value={each} />
        ))}
    </dl>
  );
}

function Figure({ name, value }: { name: string; value: unknown }) {
  const deep = typeof value === "object" && value !== null;
  return (
    <>
      <dt class="mono">{name}</dt>
      <dd>
        {deep ? (
          <details>
            <summary>{t("audit.show")}</summary>
            <pre>{JSON.stringify(value, null, 1)}</pre>
          </details>
        ) : typeof value === "number" && !Number.isInteger(value) ? (
          number(value, 4)
        ) : (
          String(value)
        )}
      </dd>
    </>
  );
}
