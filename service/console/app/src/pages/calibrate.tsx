/** Asks for labelled photos of this site's cameras, and has the service measure them. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { sendFile } from "../api/upload";
import { factsOf } from "../calibration/facts";
import { archiveOf, filesOf, layoutOf, type NamedFile } from "../calibration/photos";
import { Button, Card, Field, Moment, Note, PageHead, Segments, Select, Table } from "../components/basics";
import { ProblemNote } from "../components/problem";
import { number, percent } from "../format";
import { announce, useAction, useLoad } from "../hooks";
import { go, href } from "../route";
import { t, tn } from "../texts";
import { JobState } from "./jobs";

type Kind = "folder" | "archive";
type References = "set" | "gallery";

const CAMERA = /^[A-Za-z0-9._:@-]{1,64}$/;
// Every browser knows it, and the types of the page do not.
const A_FOLDER = { webkitdirectory: true };
const TYPES: readonly (readonly [ending: RegExp, type: string])[] = [
  [/\.zip$/i, "application/zip"],
  [/\.tar$/i, "application/x-tar"],
  [/\.t?gz$/i, "application/gzip"],
];

function typeOf(file: File): string {
  return TYPES.find(([ending]) => ending.test(file.name))?.[1] ?? "application/octet-stream";
}

export function CalibratePage() {
  const [kind, setKind] = useState<Kind>("folder");
  const [files, setFiles] = useState<readonly NamedFile[]>([]);
  const [archive, setArchive] = useState<File | null>(null);
  const [references, setReferences] = useState<References>("set");
  const [camera, setCamera] = useState("");
  const [pictures, setPictures] = useState(false);
  const [share, setShare] = useState(0);
  const stopping = useRef<AbortController | null>(null);
  const layout = useMemo(() => layoutOf(files), [files]);
  const cameraBad = camera !== "" && !CAMERA.test(camera);
  const incomplete = kind === "folder" && files.length > 0 && !layout.listed && !(layout.probes && (layout.references || references === "gallery"));
  const ready = (kind === "folder" ? files.length > 0 && !incomplete : archive !== null) && !cameraBad;

  useEffect(() => {
    document.querySelector<HTMLElement>("main h1")?.focus();
    return () => stopping.current?.abort();
  }, []);

  const sending = useAction(async () => {
    const body = kind === "folder" ? archiveOf(files) : archive;
    if (body === null) return;
    const asked = new URLSearchParams();
    if (camera) asked.set("camera", camera);
    if (references === "gallery") asked.set("references", references);
    if (pictures) asked.set("pictures", "true");
    stopping.current = new AbortController();
    setShare(0);
    try {
      const answer = await sendFile(`admin/evaluate/upload?${asked.toString()}`, body, {
        type: kind === "folder" ? "application/x-tar" : typeOf(body as File),
        onProgress: setShare,
        signal: stopping.current.signal,
      });
      announce(t("calibrate.started"));
      go("thresholds", "calibrate", (answer as Schemas["SubmittedOut"]).job_id);
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
    } finally {
      stopping.current = null;
    }
  });

  return (
    <>
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href={href("thresholds")}>{t("thresholds")}</a>
      </nav>
      <PageHead title={t("calibrate")} lead={t("calibrate.lead")} />
      <form
        class="two"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) void sending.run();
        }}
      >
        <Card title={t("calibrate.photos")}>
          <Segments<Kind>
            label={t("calibrate.photos")}
            value={kind}
            choices={[
              { value: "folder", text: t("calibrate.folder") },
              { value: "archive", text: t("calibrate.archive") },
            ]}
            onChange={setKind}
          />
          {kind === "folder" ? (
            <Field
              label={t("calibrate.folder.choose")}
              hint={t("calibrate.layout")}
              problem={incomplete ? t(references === "set" ? "calibrate.incomplete" : "calibrate.noprobes") : null}
            >
              {(ids) => (
                <input
                  {...ids}
                  {...A_FOLDER}
                  type="file"
                  multiple
                  onChange={(event) => setFiles(filesOf(event.currentTarget.files))}
                />
              )}
            </Field>
          ) : (
            <Field label={t("calibrate.archive.choose")} hint={t("calibrate.layout")}>
              {(ids) => (
                <input
                  {...ids}
                  type="file"
                  accept=".zip,.tar,.gz,.tgz,.xz,.bz2"
                  onChange={(event) => setArchive(event.currentTarget.files?.[0] ?? null)}
                />
              )}
            </Field>
          )}
          {kind === "folder" && files.length > 0 && (
            <p role="status">
              {layout.listed
                ? tn("calibrate.listed", files.length)
                : t("calibrate.found", {
                    people: tn("coverage.people", layout.subjects),
                    references: tn("calibrate.references", layout.references),
                    probes: tn("calibrate.probes", layout.probes),
                  })}{" "}
              {layout.cameras.length > 0 && t("calibrate.cameras", { names: layout.cameras.join(", ") })}
            </p>
          )}
          <Note title={t("calibrate.erased")}>
            <p>{t("calibrate.erased.told")}</p>
          </Note>
        </Card>
        <Card title={t("calibrate.how")}>
          <Select<References>
            label={t("calibrate.against")}
            hint={t(references === "set" ? "calibrate.against.set.hint" : "calibrate.against.gallery.hint")}
            value={references}
            choices={[
              { value: "set", text: t("calibrate.against.set") },
              { value: "gallery", text: t("calibrate.against.gallery") },
            ]}
            onChange={setReferences}
          />
          <Field
            label={t("calibrate.camera")}
            hint={t("calibrate.camera.hint")}
            problem={cameraBad ? t("calibrate.camera.bad") : null}
          >
            {(ids) => (
              <input
                {...ids}
                value={camera}
                spellcheck={false}
                autocomplete="off"
                onInput={(event) => setCamera(event.currentTarget.value.trim())}
              />
            )}
          </Field>
          <label class="check">
            <input type="checkbox" checked={pictures} onChange={(event) => setPictures(event.currentTarget.checked)} />
            {t("calibrate.pictures")}
          </label>
          <div class="row">
            <Button kind="primary" type="submit" icon="upload" busy={sending.busy} disabled={!ready}>
              {t("calibrate.start")}
            </Button>
            {sending.busy && <Button onClick={() => stopping.current?.abort()}>{t("cancel")}</Button>}
          </div>
          {sending.busy && (
            <span class="progress">
              <progress max={1} value={share} aria-label={t("calibrate.sending")} />
              <span class="number">{percent(share, 0)}</span>
              <span class="told">{t("calibrate.sending")}</span>
            </span>
          )}
          {sending.problem && <ProblemNote problem={sending.problem} />}
        </Card>
      </form>
      <Earlier />
    </>
  );
}

/** What was measured before, newest first; one that still runs is found again here. */
function Earlier() {
  const found = useLoad(() => answered(api.GET("/v1/admin/jobs", { params: { query: { limit: 100 } } })), []);
  const jobs = (found.data?.jobs ?? []).filter((job) => job.kind === "evaluate" && job.request["by"] === "service");
  if (jobs.length === 0) return null;
  return (
    <Card title={t("calibrate.earlier")}>
      <Table label={t("calibrate.earlier")} heads={[t("created"), t("state"), t("coverage.title")]}>
        {jobs.map((job) => {
          const facts = factsOf(job.metrics);
          return (
            <tr key={job.job_id}>
              <td>
                <a href={href("thresholds", "calibrate", job.job_id)}>
                  <Moment at={job.created_at} />
                </a>
              </td>
              <td>
                <JobState job={job} />
              </td>
              <td>
                {facts &&
                  t("calibrate.found", {
                    people: tn("coverage.people", facts.subjects),
                    references: tn("calibrate.references", facts.references),
                    probes: tn("calibrate.probes", facts.probes),
                  })}
                {facts?.gallery_templates ? ` ${t("calibrate.gallery", { n: number(facts.gallery_templates) })}` : ""}
              </td>
            </tr>
          );
        })}
      </Table>
    </Card>
  );
}
