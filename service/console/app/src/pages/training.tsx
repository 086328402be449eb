/** Asks for a retraining or an evaluation. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { answered, api, type Schemas, service } from "../api/client";
import { Button, Field, Segments, Select } from "../components/basics";
import { Dialog } from "../components/dialog";
import { ProblemNote } from "../components/problem";
import { number } from "../format";
import { useAction, useLoad } from "../hooks";
import { go } from "../route";
import { t } from "../texts";

type Preset = NonNullable<Schemas["RetrainIn"]["preset"]>;
type Activate = NonNullable<Schemas["RetrainIn"]["activate"]>;
type Source = "smoke" | "enrolled" | "uploaded" | "named";

/** Which labelled photos: the service's own crops, an archive, or a directory of the service. */
function DatasetFields(props: { sources: readonly Source[]; value: string; onChange: (dataset: string) => void }) {
  const [source, setSource] = useState<Source>(props.sources[0] ?? "named");
  const uploads = useLoad(() => answered(api.GET("/v1/admin/datasets")), []);
  const choose = (chosen: Source): void => {
    setSource(chosen);
    props.onChange(
      chosen === "smoke" || chosen === "enrolled" ? chosen : chosen === "uploaded" ? (uploads.data?.datasets[0]?.dataset_id ?? "") : "",
    );
  };
  const sending = useAction(async (file: File) => {
    const type = file.name.endsWith(".zip") ? "application/zip" : "application/x-tar";
    const response = await service.raw("admin/datasets", { method: "POST", body: file, headers: { "Content-Type": type } });
    const made = (await response.json()) as Schemas["DatasetOut"];
    uploads.reload();
    props.onChange(made.dataset_id);
  });
  return (
    <div class="stack">
      <Select<Source>
        label={t("dataset")}
        value={source}
        choices={props.sources.map((each) => ({ value: each, text: t(`dataset.${each}`) }))}
        onChange={choose}
      />
      {source === "uploaded" && (
        <>
          {(uploads.data?.datasets.length ?? 0) > 0 && (
            <Select
              label={t("dataset.uploaded")}
              value={props.value}
              choices={(uploads.data?.datasets ?? []).map((each) => ({
                value: each.dataset_id,
                text: `${each.dataset_id} (${number(each.files)})`,
              }))}
              onChange={props.onChange}
            />
          )}
          <Field label={t("dataset.send")} hint={t("dataset.send.hint")}>
            {(ids) => (
              <input
                {...ids}
                type="file"
                accept=".zip,.tar,.gz,.tgz,.xz,.bz2"
                onChange={(event) => {
                  const [file] = event.currentTarget.files ?? [];
                  if (file) void sending.run(file);
                }}
              />
            )}
          </Field>
          {sending.busy && <p class="told">{t("dataset.sending")}</p>}
          {sending.problem && <ProblemNote problem={sending.problem} />}
        </>
      )}
      {source === "named" && (
        <Field label={t("dataset.named")} hint={t("dataset.named.hint")}>
          {(ids) => (
            <input {...ids} value={props.value} spellcheck={false} onInput={(event) => props.onChange(event.currentTarget.value.trim())} />
          )}
        </Field>
      )}
      {source === "enrolled" && <p class="told">{t("dataset.enrolled.told")}</p>}
      {source === "smoke" && <p class="told">{t("dataset.smoke.told")}</p>}
    </div>
  );
}

interface JobDialogProps {
  title: string;
  ready: boolean;
  start: () => Promise<{ job_id: string }>;
  onClose: () => void;
  children: ComponentChildren;
}

/** Starts a job and goes to its page. */
function JobDialog({ title, ready, start, onClose, children }: JobDialogProps) {
  const starting = useAction(async () => {
    const { job_id } = await start();
    onClose();
    go("jobs", job_id);
  });
  return (
    <Dialog
      title={title}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button kind="primary" disabled={!ready} busy={starting.busy} onClick={() => void starting.run()}>
            {t("start")}
          </Button>
        </>
      }
    >
      {children}
      {starting.problem && <ProblemNote problem={starting.problem} />}
    </Dialog>
  );
}

export function RetrainDialog({ onClose }: { onClose: () => void }) {
  const [dataset, setDataset] = useState("enrolled");
  const [preset, setPreset] = useState<Preset>("hsst");
  const [activate, setActivate] = useState<Activate>("manual");
  const [minutes, setMinutes] = useState("");
  const start = () =>
    answered(
      api.POST("/v1/admin/retrain", {
        body: { dataset, preset, activate, seed: 0, ...(minutes ? { minutes: Number(minutes) } : {}) },
      }),
    );
  return (
    <JobDialog title={t("retrain")} ready={dataset !== ""} start={start} onClose={onClose}>
      <DatasetFields sources={["enrolled", "uploaded", "named", "smoke"]} value={dataset} onChange={setDataset} />
      <Select<Preset>
        label={t("preset")}
        value={preset}
        choices={[
          { value: "hsst", text: t("preset.hsst") },
          { value: "hsst+distill", text: t("preset.distill") },
          { value: "adapter", text: t("preset.adapter") },
        ]}
        onChange={setPreset}
      />
      <Field label={t("minutes")} hint={t("minutes.hint")}>
        {(ids) => (
          <input {...ids} type="number" min={0.01} step="any" value={minutes} onInput={(event) => setMinutes(event.currentTarget.value)} />
        )}
      </Field>
      <Segments<Activate>
        label={t("activate.when")}
        value={activate}
        choices={[
          { value: "manual", text: t("activate.manual") },
          { value: "if_better", text: t("activate.better") },
        ]}
        onChange={setActivate}
      />
    </JobDialog>
  );
}

export function EvaluateDialog({ onClose }: { onClose: () => void }) {
  const [dataset, setDataset] = useState("");
  const start = () => answered(api.POST("/v1/admin/evaluate", { body: { dataset, seed: 0, by: "training", pictures: false, references: "set" } }));
  return (
    <JobDialog title={t("evaluate")} ready={dataset !== ""} start={start} onClose={onClose}>
      <p>{t("evaluate.told")}</p>
      <DatasetFields sources={["uploaded", "named"]} value={dataset} onChange={setDataset} />
    </JobDialog>
  );
}
