/** What decides: thresholds by pair of conditions and camera, and the versions that are installed. */

import { useMemo, useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Card, Field, Loading, Moment, Note, PageHead, Select, Table } from "../components/basics";
import { CameraChoice } from "../components/cameras";
import { DetChart } from "../components/chart";
import { Dialog } from "../components/dialog";
import { ProblemNote } from "../components/problem";
import { number, percent, rate, score } from "../format";
import { announce, useAction, useLoad } from "../hooks";
import { href, route } from "../route";
import { t, type TextKey } from "../texts";
import { CalibratePage } from "./calibrate";
import { CalibrationPage } from "./calibration";

type InForce = Schemas["ThresholdsOut"];
type Version = InForce["thresholds"][number];
type Points = InForce["in_force"][number]["pairs"][number];
type Condition = Points["probe"];

function told(condition: Condition): string {
  return `${condition.spectrum.toUpperCase()}, ${t((condition.masked ? "mask.masked" : "mask.unmasked") as TextKey)}`;
}

/** With `calibrate` in the address: a site's own cameras are measured; with a job behind it, what one found. */
export function ThresholdsPage() {
  const [, part, id] = route.value;
  if (part !== "calibrate") return <Deciding />;
  return id === undefined ? <CalibratePage /> : <CalibrationPage key={id} id={id} />;
}

function Deciding() {
  const found = useLoad(() => answered(api.GET("/v1/admin/thresholds")), []);
  const [camera, setCamera] = useState("");
  const [installing, setInstalling] = useState(false);
  const [asked, setAsked] = useState<number | "bundle" | null>(null);
  const { data, put, reload } = found;
  const activating = useAction(async (version: string) => {
    put(await answered(api.POST("/v1/admin/thresholds/{version}/activate", { params: { path: { version } } })));
    setAsked(null);
    announce(t("thresholds.switched"));
  });
  const cameras = (data?.in_force ?? []).map((each) => each.camera).filter((each) => each !== null);
  const pairs = (data?.in_force ?? []).find((each) => (each.camera ?? "") === camera)?.pairs ?? [];
  return (
    <>
      <PageHead title={t("thresholds")} lead={t("thresholds.lead")}>
        <Button icon="upload" onClick={() => setInstalling(true)}>
          {t("thresholds.install")}
        </Button>
        <a class="button primary" href={href("thresholds", "calibrate")}>
          <span>{t("calibrate")}</span>
        </a>
      </PageHead>
      {found.problem && <ProblemNote problem={found.problem} onRetry={reload} />}
      {!data && !found.problem && <Loading />}
      {data && (
        <>
          {data.set_aside && (
            <Note tone="bad" title={t("thresholds.aside", { n: data.set_aside.version })}>
              <p lang="en">{data.set_aside.why}</p>
              <p>{t("thresholds.aside.now")}</p>
              <p>{t("thresholds.aside.do")}</p>
            </Note>
          )}
          <Card title={t("thresholds.now")}>
            <dl class="facts">
              <dt>{t("thresholds.version")}</dt>
              <dd>{data.active ?? t("thresholds.bundle")}</dd>
              <dt>{t("calibration")}</dt>
              <dd class="mono">{data.calibration_id}</dd>
              <dt>{t("thresholds.default")}</dt>
              <dd>{rate(data.default_fmr)}</dd>
              <dt>{t("thresholds.duplicate")}</dt>
              <dd>{rate(data.duplicate_fmr)}</dd>
            </dl>
            <CameraChoice cameras={cameras} value={camera} onChange={setCamera} />
          </Card>
          <Pairs pairs={pairs} defaultFmr={data.default_fmr} />
          <Versions data={data} onActivate={setAsked} />
        </>
      )}
      {asked !== null && (
        <Dialog
          title={asked === "bundle" ? t("thresholds.back.title") : t("thresholds.use.title", { n: asked })}
          onClose={() => setAsked(null)}
          actions={
            <>
              <Button onClick={() => setAsked(null)}>{t("cancel")}</Button>
              <Button kind="primary" busy={activating.busy} onClick={() => void activating.run(String(asked))}>
                {t("thresholds.use")}
              </Button>
            </>
          }
        >
          <p>{t("thresholds.use.told")}</p>
          {activating.problem && <ProblemNote problem={activating.problem} />}
        </Dialog>
      )}
      {installing && (
        <InstallDialog
          onClose={() => setInstalling(false)}
          onInstalled={() => {
            setInstalling(false);
            reload();
          }}
        />
      )}
    </>
  );
}

/** For the conditions of the reference that somebody chooses: each probe's thresholds, and the curve. */
function Pairs({ pairs, defaultFmr }: { pairs: readonly Points[]; defaultFmr: number }) {
  const references = [...new Map(pairs.map((pair) => [told(pair.reference), pair.reference])).keys()];
  const [chosen, setChosen] = useState("");
  const reference = references.includes(chosen) ? chosen : (references[0] ?? "");
  const shown = pairs.filter((pair) => told(pair.reference) === reference);
  const curves = useMemo(
    () =>
      shown.map((pair) => ({
        name: told(pair.probe),
        points: pair.points
          .filter((point) => point.fnmr !== null && point.fnmr !== undefined)
          .map((point): [number, number] => [point.fmr, point.fnmr ?? 0]),
      })),
    [shown.map((pair) => told(pair.probe)).join(), reference, pairs],
  );
  if (pairs.length === 0) return null;
  return (
    <>
      <Card title={t("thresholds.by")}>
        <Select
          label={t("thresholds.reference")}
          value={reference}
          choices={references.map((each) => ({ value: each, text: each }))}
          onChange={setChosen}
        />
        <Table
          label={t("thresholds.by")}
          heads={[t("probe"), t("fmr"), t("threshold"), t("fmr.upper"), t("fnmr"), t("thresholds.method"), t("thresholds.setby")]}
        >
          {shown.flatMap((pair) =>
            pair.points.map((point, index) => (
              <tr key={`${told(pair.probe)} ${point.fmr}`} class={point.fmr === defaultFmr ? "chosen" : ""}>
                <td>
                  {index === 0 && (
                    <>
                      {told(pair.probe)}
                      <br />
                      <span class="told">{t("thresholds.people", { n: number(pair.subjects) })}</span>
                    </>
                  )}
                </td>
                <td class="number">
                  {rate(point.fmr)} {point.fmr === defaultFmr && <Badge tone="info">{t("default")}</Badge>}
                </td>
                <td class="number">{score(point.threshold)}</td>
                <td class="number">{rate(point.fmr_upper)}</td>
                <td class="number">{point.fnmr === null || point.fnmr === undefined ? "–" : percent(point.fnmr)}</td>
                <td>{t(`method.${point.method}` as TextKey)}</td>
                <td>{point.set_by ?? "–"}</td>
              </tr>
            )),
          )}
        </Table>
        <p class="told">{t("thresholds.told")}</p>
      </Card>
      {curves.some((curve) => curve.points.length > 1) && (
        <Card title={t("det")}>
          <DetChart curves={curves.filter((curve) => curve.points.length > 1)} title={t("det.title")} />
        </Card>
      )}
    </>
  );
}

function Versions({ data, onActivate }: { data: InForce; onActivate: (version: number | "bundle") => void }) {
  return (
    <Card title={t("thresholds.versions")}>
      <Table
        label={t("thresholds.versions")}
        heads={[t("thresholds.version"), t("thresholds.note"), t("created"), t("audit.actor"), ""]}
      >
        {data.thresholds.map((version) => (
          <VersionRow key={version.version} version={version} data={data} onUse={() => onActivate(version.version)} />
        ))}
        <tr>
          <td>{t("thresholds.bundle")}</td>
          <td>–</td>
          <td>–</td>
          <td>–</td>
          <td>
            {data.active === null && data.set_aside === null ? (
              <Badge tone="good">{t("thresholds.inforce")}</Badge>
            ) : (
              <Button onClick={() => onActivate("bundle")}>{t("thresholds.back")}</Button>
            )}
          </td>
        </tr>
      </Table>
    </Card>
  );
}

function VersionRow({ version, data, onUse }: { version: Version; data: InForce; onUse: () => void }) {
  const ofThisModel = version.space_id === data.space_id;
  return (
    <tr>
      <td class="number">{version.version}</td>
      <td>
        {version.note || "–"}
        <br />
        <span class="told">{version.thresholds.data}</span>
      </td>
      <td>
        <Moment at={version.created_at} />
      </td>
      <td class="mono">{version.created_by}</td>
      <td>
        {version.active ? (
          <Badge tone="good">{t("thresholds.inforce")}</Badge>
        ) : version.usable ? (
          <Button aria-label={t("thresholds.use.title", { n: version.version })} onClick={onUse}>
            {t("thresholds.use")}
          </Button>
        ) : version.version === data.set_aside?.version ? (
          <Badge tone="bad">{t("thresholds.isaside")}</Badge>
        ) : (
          <span class="told">{t(ofThisModel ? "thresholds.otherscores" : "thresholds.foreign")}</span>
        )}
      </td>
    </tr>
  );
}

function InstallDialog(props: { onClose: () => void; onInstalled: () => void }) {
  const [table, setTable] = useState<unknown>(null);
  const [bad, setBad] = useState(false);
  const [note, setNote] = useState("");
  const [activate, setActivate] = useState(true);
  const installing = useAction(async () => {
    // What `halflight evaluate` wrote goes to the service as it is: the service checks it.
    await answered(
      api.POST("/v1/admin/thresholds", {
        body: { thresholds: table as never, note: note.trim(), replace: false, activate, default_fmr: null },
      }),
    );
    announce(t("thresholds.installed"));
    props.onInstalled();
  });
  return (
    <Dialog
      title={t("thresholds.install")}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="primary" disabled={table === null} busy={installing.busy} onClick={() => void installing.run()}>
            {t("thresholds.install")}
          </Button>
        </>
      }
    >
      <p>{t("thresholds.install.told")}</p>
      <Field label={t("thresholds.file")} problem={bad ? t("thresholds.file.bad") : null}>
        {(ids) => (
          <input
            {...ids}
            type="file"
            accept=".json,application/json"
            onChange={(event) => {
              const [file] = event.currentTarget.files ?? [];
              setTable(null);
              if (!file) return;
              void file.text().then((text) => {
                try {
                  setTable(JSON.parse(text) as unknown);
                  setBad(false);
                } catch {
                  setBad(true);
                }
              });
            }}
          />
        )}
      </Field>
      <Field label={t("thresholds.note")}>
        {(ids) => <input {...ids} value={note} maxLength={500} onInput={(event) => setNote(event.currentTarget.value)} />}
      </Field>
      <label class="check">
        <input type="checkbox" checked={activate} onChange={(event) => setActivate(event.currentTarget.checked)} />
        {t("thresholds.atonce")}
      </label>
      {!activate && <Note title={t("thresholds.later")} />}
      {installing.problem && <ProblemNote problem={installing.problem} />}
    </Dialog>
  );
}
