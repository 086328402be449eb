/** One measurement of a site's cameras: how far it is, what it found, and its thresholds to install. */

import { useEffect, useState } from "preact/hooks";

import { answered, api, service } from "../api/client";
import { type Facts, factsOf, type PairFacts, type Point } from "../calibration/facts";
import {
  acquisitionText,
  conditionText,
  coverageText,
  intervalText,
  limitText,
  pairText,
} from "../calibration/sentences";
import { Button, Card, Field, Loading, Moment, Note, PageHead, Select, Table } from "../components/basics";
import { CameraChoice } from "../components/cameras";
import { DetChart, HistogramChart } from "../components/chart";
import { ProblemNote } from "../components/problem";
import { number, percent, rate, score } from "../format";
import { announce, useAction } from "../hooks";
import { href } from "../route";
import { has, t, type TextKey, tn } from "../texts";
import { isOver, type Job, useJob } from "../watching";
import { JobState } from "./jobs";

export function CalibrationPage({ id }: { id: string }) {
  const { found, cancelling } = useJob(id);
  const { data: job, problem, reload } = found;
  const facts = job?.state === "succeeded" ? factsOf(job.metrics) : null;
  useEffect(() => {
    document.querySelector<HTMLElement>("main h1")?.focus();
  }, [job === null]);
  return (
    <>
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href={href("thresholds")}>{t("thresholds")}</a> / <a href={href("thresholds", "calibrate")}>{t("calibrate")}</a>
      </nav>
      <PageHead title={t("calibration.title")} lead={<span class="mono">{id}</span>}>
        {job && <JobState job={job} />}
        {job && !isOver(job) && (
          <Button kind="danger" busy={cancelling.busy} disabled={job.cancel_requested} onClick={() => void cancelling.run()}>
            {t(job.cancel_requested ? "job.cancelling" : "job.cancel")}
          </Button>
        )}
      </PageHead>
      {problem && !job && <ProblemNote problem={problem} onRetry={reload} />}
      {!job && !problem && <Loading />}
      {cancelling.problem && <ProblemNote problem={cancelling.problem} />}
      {job && !isOver(job) && <Running job={job} />}
      {job && (job.state === "failed" || job.state === "cancelled") && <Ended job={job} />}
      {facts && <Result id={id} facts={facts} />}
      {job?.state === "succeeded" && !facts && (
        <Note tone="warn" title={t("calibration.foreign")}>
          <p>
            <a href={href("jobs", id)}>{t("jobs")}</a>
          </p>
        </Note>
      )}
    </>
  );
}

function Running({ job }: { job: Job }) {
  const key = `calibration.stage.${job.stage}`;
  const told = percent(job.progress, 0);
  return (
    <Card title={t("progress")}>
      <span class="progress">
        <progress max={1} value={job.progress} aria-label={t("progress")}>
          {told}
        </progress>
        <span class="number">{told}</span>
        <span class="told">{has(key) ? t(key as TextKey) : t(`job.${job.state}`)}</span>
      </span>
      <p class="told">{t("calibration.goeson")}</p>
    </Card>
  );
}

function Ended({ job }: { job: Job }) {
  return (
    <Note tone={job.state === "failed" ? "bad" : "warn"} title={t(`job.${job.state}`)}>
      {job.message && <p lang="en">{job.message}</p>}
      <p>{t("calibration.gone")}</p>
      <p>
        <a href={href("thresholds", "calibrate")}>{t("calibration.again")}</a>
      </p>
    </Note>
  );
}

function Result({ id, facts }: { id: string; facts: Facts }) {
  const cameras = [...new Set(facts.pairs.map((pair) => pair.camera))].filter((each) => each !== null);
  const [camera, setCamera] = useState("");
  const pairs = facts.pairs.filter((pair) => (pair.camera ?? "") === camera);
  return (
    <div class="stack">
      <Card title={t("coverage.title")}>
        <p class="told">
          {t("calibrate.found", {
            people: tn("coverage.people", facts.subjects),
            references: tn("calibrate.references", facts.references),
            probes: tn("calibrate.probes", facts.probes),
          })}{" "}
          {facts.against === "gallery" && t("calibration.against.gallery")} <Moment at={facts.made_at} />
        </p>
        <ul class="plain">
          {facts.pairs.map((pair) => (
            <li key={`${pair.camera} ${pair.pair}`}>
              <b>{coverageText(pair)}</b> <span class="told">{limitText(pair)}</span>
            </li>
          ))}
        </ul>
        <ul class="plain">
          {facts.acquisition.map((one) => (
            <li key={`${one.role} ${one.camera}`}>{acquisitionText(one)}</li>
          ))}
        </ul>
        <Report id={id} />
      </Card>
      <Install facts={facts} />
      <CameraChoice cameras={cameras} value={camera} onChange={setCamera} />
      <Rates pairs={pairs} />
      <Searches facts={facts} camera={camera} />
      <Curves pairs={pairs} />
    </div>
  );
}

function Rates({ pairs }: { pairs: readonly PairFacts[] }) {
  const heads = [
    t("calibration.pairs"),
    t("fmr"),
    t("threshold"),
    t("calibration.falsematches"),
    t("fmr.upper"),
    t("fnmr"),
    t("thresholds.method"),
    t("calibration.now"),
    t("calibration.now.fnmr"),
  ];
  return (
    <Card title={t("calibration.rates")}>
      <Table label={t("calibration.rates")} heads={heads}>
        {pairs.flatMap((pair) =>
          fmrsOf(pair).map((fmr, index) => (
            <tr key={`${pair.pair} ${fmr}`}>
              <td>{index === 0 && pairText(pair.pair)}</td>
              <td class="number">{rate(fmr)}</td>
              <Suggested pair={pair} point={pair.suggested.find((each) => each.fmr === fmr)} />
              <InForce point={pair.in_force.find((each) => each.fmr === fmr)} />
            </tr>
          )),
        )}
      </Table>
      <p class="told">{t("calibration.rates.told")}</p>
    </Card>
  );
}

function fmrsOf(pair: PairFacts): readonly number[] {
  return [...new Set([...pair.suggested, ...pair.in_force].map((each) => each.fmr))].sort((a, b) => b - a);
}

function Suggested({ pair, point }: { pair: PairFacts; point: Point | undefined }) {
  if (!point) return <td colSpan={5}>{t("calibration.unsupported")}</td>;
  return (
    <>
      <td class="number">{score(point.threshold)}</td>
      <td class="number">{t("calibration.of", { n: number(point.false_matches), all: number(pair.coverage.comparisons) })}</td>
      <td class="number">{rate(point.fmr_upper)}</td>
      <td class="number">{intervalText(point.fnmr)}</td>
      <td>{t(`method.${point.method}`)}</td>
    </>
  );
}

function InForce({ point }: { point: Point | undefined }) {
  return (
    <>
      <td class="number">{score(point?.threshold)}</td>
      <td class="number">{intervalText(point?.fnmr ?? null)}</td>
    </>
  );
}

function Searches({ facts, camera }: { facts: Facts; camera: string }) {
  const found = facts.identification.filter((one) => (one.camera ?? "") === camera && one.at.length > 0);
  if (found.length === 0) return null;
  const gallery = facts.gallery_templates;
  const heads = [
    t("calibration.searches"),
    t("rank1"),
    t("fmr"),
    t("thresholds"),
    t("fpir.here"),
    ...(gallery ? [t("fpir.gallery", { n: number(gallery) })] : []),
    t("fnir"),
  ];
  return (
    <Card title={t("calibration.identification")}>
      <Table label={t("calibration.identification")} heads={heads}>
        {found.flatMap((one) =>
          one.at.map((at, index) => (
            <tr key={`${one.condition} ${at.source} ${at.fmr}`}>
              <td>
                {index === 0 && (
                  <>
                    {conditionText(one.condition)}
                    <br />
                    <span class="told">
                      {t("calibration.searched", {
                        n: number(one.searches),
                        people: tn("coverage.people", one.enrolled),
                        references: tn("calibrate.references", one.references),
                      })}
                    </span>
                  </>
                )}
              </td>
              <td class="number">{index === 0 && intervalText(one.rank1)}</td>
              <td class="number">{rate(at.fmr)}</td>
              <td>{t(`calibration.${at.source}`)}</td>
              <td class="number">{intervalText(at.fpir)}</td>
              {gallery ? <td class="number">{intervalText(at.fpir_at_gallery)}</td> : null}
              <td class="number">{intervalText(at.fnir)}</td>
            </tr>
          )),
        )}
      </Table>
      <p class="told">{t("calibration.identification.told")}</p>
    </Card>
  );
}

function Curves({ pairs }: { pairs: readonly PairFacts[] }) {
  const curves = pairs
    .filter((pair) => pair.det.length > 1)
    .map((pair) => ({
      name: pairText(pair.pair),
      points: pair.det.map((point): [number, number] => [point.fmr, point.fnmr]),
    }));
  return (
    <>
      {curves.length > 0 && (
        <Card title={t("det")}>
          <DetChart curves={curves} title={t("det.title")} />
        </Card>
      )}
      {pairs.map((pair) => (
        <Card key={pair.pair} title={t("histogram", { pair: pairText(pair.pair) })}>
          <HistogramChart
            title={t("histogram.title", { pair: pairText(pair.pair) })}
            edges={pair.histogram.edges}
            kinds={[
              { name: t("histogram.mated"), counts: pair.histogram.mated },
              { name: t("histogram.nonmated"), counts: pair.histogram.non_mated },
            ]}
            limits={pair.suggested.map((point) => ({ name: `FMR ${rate(point.fmr)}`, at: point.threshold }))}
          />
        </Card>
      ))}
    </>
  );
}

/** The page with names of files, fetched with the key and opened from this tab's memory. */
function Report({ id }: { id: string }) {
  const [address, setAddress] = useState<string | null>(null);
  const fetching = useAction(async () => {
    const response = await service.raw(`admin/evaluate/${encodeURIComponent(id)}/report`);
    setAddress(URL.createObjectURL(new Blob([await response.text()], { type: "text/html" })));
    announce(t("report.ready"));
  });
  useEffect(() => () => (address === null ? undefined : URL.revokeObjectURL(address)), [address]);
  return (
    <div class="stack">
      <p class="told">{t("report.told")}</p>
      {address === null ? (
        <p>
          <Button busy={fetching.busy} onClick={() => void fetching.run()}>
            {t("report.fetch")}
          </Button>
        </p>
      ) : (
        <p class="row">
          <a class="button primary" href={address} target="_blank" rel="noopener">
            <span>{t("report.open")}</span>
          </a>
          <a class="button plain" href={address} download={`${id}-report.html`}>
            <span>{t("report.save")}</span>
          </a>
        </p>
      )}
      {fetching.problem && <ProblemNote problem={fetching.problem} />}
    </div>
  );
}

function Install({ facts }: { facts: Facts }) {
  const [note, setNote] = useState("");
  const [fmr, setFmr] = useState("");
  const [activate, setActivate] = useState(true);
  const [version, setVersion] = useState<number | null>(null);
  const installing = useAction(async () => {
    if (facts.thresholds === null) return;
    const made = await answered(
      api.POST("/v1/admin/thresholds", {
        body: {
          thresholds: facts.thresholds,
          note: note.trim(),
          replace: false,
          activate,
          default_fmr: fmr === "" ? null : Number(fmr),
        },
      }),
    );
    setVersion(made.version);
    announce(t("thresholds.installed"));
  });
  if (facts.thresholds === null) {
    return (
      <Note tone="warn" title={t("calibration.nothing")}>
        <p>{t("calibration.nothing.do")}</p>
      </Note>
    );
  }
  if (version !== null) {
    return (
      <Note tone="good" title={t(activate ? "calibration.decides" : "calibration.kept", { n: version })}>
        <p>
          <a href={href("thresholds")}>{t("calibration.versions")}</a>
        </p>
      </Note>
    );
  }
  const supported = facts.pairs.filter((pair) => pair.suggested.length > 0);
  const strictest = Math.max(...supported.map((pair) => pair.coverage.supports ?? 0));
  const fmrs = [...new Set(supported.flatMap((pair) => pair.suggested.map((point) => point.fmr)))].sort((a, b) => b - a);
  const looser = facts.default_fmr !== null && strictest > facts.default_fmr * (1 + 1e-6);
  return (
    <Card title={t("calibration.install")}>
      <p>{t("calibration.install.told")}</p>
      {looser && (
        <Note tone="warn" title={t("calibration.looser", { fmr: rate(facts.default_fmr), supports: rate(strictest) })}>
          <p>{t("calibration.looser.do")}</p>
        </Note>
      )}
      <Field label={t("thresholds.note")} hint={t("calibration.note.hint")}>
        {(ids) => <input {...ids} value={note} maxLength={500} onInput={(event) => setNote(event.currentTarget.value)} />}
      </Field>
      <Select
        label={t("thresholds.default")}
        hint={t("calibration.default.hint")}
        value={fmr}
        choices={[
          { value: "", text: t("calibration.default.keep", { fmr: rate(facts.default_fmr) }) },
          ...fmrs.map((each) => ({ value: String(each), text: rate(each) })),
        ]}
        onChange={setFmr}
      />
      <label class="check">
        <input type="checkbox" checked={activate} onChange={(event) => setActivate(event.currentTarget.checked)} />
        {t("thresholds.atonce")}
      </label>
      <p>
        <Button kind="primary" busy={installing.busy} onClick={() => void installing.run()}>
          {t("calibration.install.do")}
        </Button>
      </p>
      {installing.problem && <ProblemNote problem={installing.problem} />}
    </Card>
  );
}
