/** One subject: names, samples, merge, and erasure with its receipt. */

import { useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Card, Empty, Field, Loading, Meter, Moment, Note, PageHead, Table } from "../components/basics";
import { Dialog } from "../components/dialog";
import { qualityTone } from "../components/faces";
import { ProblemNote } from "../components/problem";
import { saveJson } from "../download";
import { initials, moment, number } from "../format";
import { announce, useAction, useLoad } from "../hooks";
import { toEnrol } from "../handover";
import { go, href } from "../route";
import { t, tn } from "../texts";

type Subject = Schemas["SubjectDetailOut"];
type Receipt = Schemas["ReceiptOut"];

export function SubjectPage({ id }: { id: string }) {
  const found = useLoad(
    () => answered(api.GET("/v1/subjects/{subject_id}", { params: { path: { subject_id: id } } })),
    [id],
  );
  const [dialog, setDialog] = useState<"erase" | "merge" | null>(null);
  const [receipt, setReceipt] = useState<Receipt | null>(null);
  const subject = found.data;
  if (receipt) return <Erased id={id} receipt={receipt} />;
  return (
    <>
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href={href("subjects")}>{t("subjects")}</a>
      </nav>
      {found.problem && !subject && (
        <>
          <h1 tabIndex={-1}>{id}</h1>
          <ProblemNote problem={found.problem} onRetry={found.reload} />
        </>
      )}
      {!subject && !found.problem && <Loading />}
      {subject && (
        <>
          <PageHead title={subject.display_name ?? subject.subject_id} lead={<span class="mono">{subject.subject_id}</span>}>
            <Button
              icon="enrol"
              onClick={() => {
                toEnrol.value = { pictures: [], subjectId: id, spectrum: null };
                go("enrol");
              }}
            >
              {t("subject.addphotos")}
            </Button>
            <Button onClick={() => setDialog("merge")}>{t("merge")}</Button>
            <Button kind="danger" icon="trash" onClick={() => setDialog("erase")}>
              {t("erase")}
            </Button>
          </PageHead>
          <div class="two">
            <Names subject={subject} onChanged={found.put} />
            <Samples subject={subject} onChanged={found.reload} />
          </div>
        </>
      )}
      {dialog === "merge" && subject && <MergeDialog subject={subject} onClose={() => setDialog(null)} onMerged={found.reload} />}
      {dialog === "erase" && subject && (
        <EraseDialog
          subject={subject}
          onClose={() => setDialog(null)}
          onErased={(got) => {
            setDialog(null);
            setReceipt(got);
          }}
        />
      )}
    </>
  );
}

function Names({ subject, onChanged }: { subject: Subject; onChanged: (subject: Subject) => void }) {
  const [name, setName] = useState(subject.display_name ?? "");
  const [id, setId] = useState(subject.subject_id);
  const [metadata, setMetadata] = useState(JSON.stringify(subject.metadata, null, 2));
  const [badJson, setBadJson] = useState(false);
  const saving = useAction(async () => {
    let fields: Record<string, unknown>;
    try {
      const read: unknown = JSON.parse(metadata || "{}");
      if (typeof read !== "object" || read === null || Array.isArray(read)) throw new SyntaxError();
      fields = read as Record<string, unknown>;
      setBadJson(false);
    } catch {
      setBadJson(true);
      return;
    }
    const changed = await answered(
      api.PATCH("/v1/subjects/{subject_id}", {
        params: { path: { subject_id: subject.subject_id } },
        body: {
          display_name: name.trim() || null,
          metadata: fields,
          ...(id !== subject.subject_id ? { subject_id: id } : {}),
        },
      }),
    );
    announce(t("saved"));
    if (changed.subject_id === subject.subject_id) onChanged(changed);
    else go("subjects", changed.subject_id);
  });
  return (
    <Card title={t("names")}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void saving.run();
        }}
      >
        <div class="row">
          <span class="avatar large" aria-hidden="true">
            {initials(subject.display_name ?? subject.subject_id)}
          </span>
          <p class="told">
            {t("enrolled.at")} {moment(subject.created_at)}
            <br />
            {t("changed.at")} {moment(subject.updated_at)}
          </p>
        </div>
        <Field label={t("display.name")}>
          {(ids) => <input {...ids} value={name} onInput={(event) => setName(event.currentTarget.value)} />}
        </Field>
        <Field label={t("subject.id")} hint={t("rename.hint")}>
          {(ids) => (
            <input {...ids} value={id} spellcheck={false} required onInput={(event) => setId(event.currentTarget.value.trim())} />
          )}
        </Field>
        <Field label={t("metadata")} hint={t("metadata.hint")} problem={badJson ? t("metadata.bad") : null}>
          {(ids) => (
            <textarea {...ids} rows={4} spellcheck={false} class="mono" value={metadata} onInput={(event) => setMetadata(event.currentTarget.value)} />
          )}
        </Field>
        {saving.problem && <ProblemNote problem={saving.problem} />}
        <Button kind="primary" type="submit" busy={saving.busy}>
          {t("save")}
        </Button>
      </form>
    </Card>
  );
}

function Samples({ subject, onChanged }: { subject: Subject; onChanged: () => void }) {
  const [asked, setAsked] = useState<string | null>(null);
  const erasing = useAction(async (sampleId: string) => {
    await answered(
      api.DELETE("/v1/subjects/{subject_id}/samples/{sample_id}", {
        params: { path: { subject_id: subject.subject_id, sample_id: sampleId } },
      }),
    );
    setAsked(null);
    announce(t("sample.erased"));
    onChanged();
  });
  return (
    <Card title={tn("samples", subject.samples.length)}>
      {subject.samples.length === 0 ? (
        <Empty title={t("samples.none")}>
          <p>{t("samples.none.do")}</p>
        </Empty>
      ) : (
        <Table label={t("photos")} heads={[t("photo"), t("quality"), t("eyes"), t("enrolled.at"), ""]}>
          {subject.samples.map((sample) => (
            <tr key={sample.sample_id}>
              <td>
                <span class="row tight">
                  <Badge tone={sample.spectrum === "nir" ? "info" : "neutral"}>{sample.spectrum.toUpperCase()}</Badge>
                  {sample.masked && (
                    <Badge tone="warn" icon="mask">
                      {t("mask.masked")}
                    </Badge>
                  )}
                </span>
                <span class="told mono">{sample.sample_id.slice(0, 13)}</span>
              </td>
              <td>
                <Meter
                  value={sample.quality_score}
                  tone={qualityTone(sample.quality_score)}
                  label={t("quality.of", { n: sample.quality_score })}
                />
              </td>
              <td class="number">{number(sample.inter_eye_px)} px</td>
              <td><Moment at={sample.created_at} /></td>
              <td>
                <Button
                  kind="quiet"
                  icon="trash"
                  aria-label={t("sample.erase", { id: sample.sample_id.slice(0, 13) })}
                  onClick={() => setAsked(sample.sample_id)}
                />
              </td>
            </tr>
          ))}
        </Table>
      )}
      {asked && (
        <Dialog
          title={t("sample.erase.title")}
          onClose={() => setAsked(null)}
          actions={
            <>
              <Button onClick={() => setAsked(null)}>{t("cancel")}</Button>
              <Button kind="danger" busy={erasing.busy} onClick={() => void erasing.run(asked)}>
                {t("erase")}
              </Button>
            </>
          }
        >
          <p>{t("sample.erase.told")}</p>
          {erasing.problem && <ProblemNote problem={erasing.problem} />}
        </Dialog>
      )}
    </Card>
  );
}

function MergeDialog(props: { subject: Subject; onClose: () => void; onMerged: () => void }) {
  const { subject } = props;
  const [other, setOther] = useState("");
  const merging = useAction(async () => {
    const merged = await answered(
      api.POST("/v1/subjects/{subject_id}/merge", {
        params: { path: { subject_id: subject.subject_id } },
        body: { subject_id: other.trim() },
      }),
    );
    announce(tn("merged", merged.moved));
    props.onMerged();
    props.onClose();
  });
  return (
    <Dialog
      title={t("merge.title", { id: subject.subject_id })}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="primary" disabled={!other.trim()} busy={merging.busy} onClick={() => void merging.run()}>
            {t("merge.do")}
          </Button>
        </>
      }
    >
      <p>{t("merge.told", { id: subject.subject_id })}</p>
      <Field label={t("merge.whom")}>
        {(ids) => <input {...ids} value={other} spellcheck={false} onInput={(event) => setOther(event.currentTarget.value)} />}
      </Field>
      {merging.problem && <ProblemNote problem={merging.problem} />}
    </Dialog>
  );
}

function EraseDialog(props: { subject: Subject; onClose: () => void; onErased: (receipt: Receipt) => void }) {
  const { subject } = props;
  const [typed, setTyped] = useState("");
  const erasing = useAction(async () => {
    const receipt = await answered(
      api.DELETE("/v1/subjects/{subject_id}", { params: { path: { subject_id: subject.subject_id } } }),
    );
    announce(t("erased.title", { id: subject.subject_id }));
    props.onErased(receipt);
  });
  return (
    <Dialog
      title={t("erase.title", { id: subject.subject_id })}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button
            kind="danger"
            icon="trash"
            disabled={typed !== subject.subject_id}
            busy={erasing.busy}
            onClick={() => void erasing.run()}
          >
            {t("erase.do")}
          </Button>
        </>
      }
    >
      <p>{tn("erase.told", subject.samples.length)}</p>
      <Field label={t("erase.type", { id: subject.subject_id })}>
        {(ids) => (
          <input
            {...ids}
            value={typed}
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        )}
      </Field>
      {erasing.problem && <ProblemNote problem={erasing.problem} />}
    </Dialog>
  );
}

function Erased({ id, receipt }: { id: string; receipt: Receipt }) {
  return (
    <>
      <PageHead title={t("erased.title", { id })} />
      <Card title={t("receipt")}>
        <Note tone="good" title={t("erased.told")} />
        <dl class="facts">
          <dt>{t("erased.samples")}</dt>
          <dd>{receipt.erased.samples}</dd>
          <dt>{t("erased.templates")}</dt>
          <dd>{receipt.erased.templates}</dd>
          <dt>{t("erased.crops")}</dt>
          <dd>{receipt.erased.crops}</dd>
          <dt>{t("erased.shredded")}</dt>
          <dd class="mono">{receipt.shredded.join(", ") || "–"}</dd>
          <dt>{t("erased.audit")}</dt>
          <dd>{receipt.audit_id}</dd>
        </dl>
        <div class="row">
          {/* The receipt is for whoever asked for the erasure: it names the subject, as nothing here does any more. */}
          <Button icon="upload" onClick={() => saveJson(`erasure-${receipt.audit_id}.json`, { subject_id: id, ...receipt })}>
            {t("receipt.save")}
          </Button>
          <a class="button plain" href={href("subjects")}>
            <span>{t("subjects")}</span>
          </a>
        </div>
      </Card>
    </>
  );
}
