/** What the service says about itself. */

import { Fragment } from "preact";
import { useEffect } from "preact/hooks";

import { service } from "../api/client";
import { Badge, Button, Card, Loading, Note, PageHead } from "../components/basics";
import { ProblemNote } from "../components/problem";
import { number } from "../format";
import { useInterval, useLoad } from "../hooks";
import { readiness, refreshReadiness } from "../readiness";
import { t, type TextKey } from "../texts";

const EVERY_MS = 5000;

/** Metrics that tell how the service does, with the text that names each. */
const SHOWN: readonly (readonly [metric: string, text: TextKey])[] = [
  ["halflight_gallery_templates", "metric.templates"],
  ["halflight_enrolled_samples_total", "metric.enrolled"],
  ["halflight_decisions_total", "metric.decisions"],
  ["halflight_requests_total", "metric.requests"],
  ["halflight_refusals_total", "metric.refusals"],
  ["halflight_failed_logins_total", "metric.logins"],
];

/** The sum of each metric over its labels, from Prometheus' text format. */
function sums(text: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split("\n")) {
    const parts = /^(\w+)(?:\{.*\})? (\S+)$/.exec(line);
    const [, name = "", value = ""] = parts ?? [];
    if (name && Number.isFinite(Number(value))) found.set(name, (found.get(name) ?? 0) + Number(value));
  }
  return found;
}

export function HealthPage() {
  const metrics = useLoad(async () => sums(await (await service.raw("metrics")).text()), []);
  useEffect(() => {
    void refreshReadiness();
  }, []);
  useInterval(() => {
    void refreshReadiness();
    metrics.reload();
  }, EVERY_MS);
  const found = readiness.value;
  return (
    <>
      <PageHead title={t("health")} lead={t("health.lead")}>
        <Button
          onClick={() => {
            void refreshReadiness();
            metrics.reload();
          }}
        >
          {t("refresh")}
        </Button>
      </PageHead>
      <div class="two">
        <Card title={t("service")}>
          {!found ? (
            <Loading />
          ) : (
            <>
              <div>
                <Badge tone={found.status === "ready" ? "good" : found.status === "degraded" ? "warn" : "bad"}>
                  {t(`health.${found.status}`)}
                </Badge>
              </div>
              <dl class="facts">
                <dt>{t("bundle")}</dt>
                <dd>{found.bundle ?? "–"}</dd>
                <dt>{t("space")}</dt>
                <dd class="mono">{found.space_id ?? "–"}</dd>
                <dt>{t("provider")}</dt>
                <dd>{found.provider ?? "–"}</dd>
                <dt>{t("metric.templates")}</dt>
                <dd>{found.templates === null || found.templates === undefined ? "–" : number(found.templates)}</dd>
                <dt>{t("access")}</dt>
                <dd>{t(found.open_access ? "access.open" : "access.keys")}</dd>
              </dl>
              {found.open_access && (
                <Note tone="warn" title={t("access.open.title")}>
                  <p>{t("access.open.do")}</p>
                </Note>
              )}
            </>
          )}
        </Card>
        <Card title={t("metrics")}>
          {metrics.problem && <ProblemNote problem={metrics.problem} />}
          {metrics.data && (
            <dl class="facts">
              {SHOWN.map(([name, text]) => (
                <Fragment key={name}>
                  <dt>{t(text)}</dt>
                  <dd class="number">{number(metrics.data?.get(name) ?? 0)}</dd>
                </Fragment>
              ))}
            </dl>
          )}
          <p class="told">{t("metrics.told")}</p>
        </Card>
      </div>
    </>
  );
}
