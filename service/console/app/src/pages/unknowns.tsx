/** Faces that nobody knew, by person, while their crops are kept: name, ignore or forget them. */

import { useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Empty, Field, Loading, Moment, Note, PageHead } from "../components/basics";
import { Crop } from "../components/crop";
import { Dialog } from "../components/dialog";
import { ProblemNote } from "../components/problem";
import { announce, useAction, useLoad } from "../hooks";
import { href } from "../route";
import { t, tn } from "../texts";

type Unknown = Schemas["UnknownOut"];

export function UnknownsPage() {
  const [ignored, setIgnored] = useState(false);
  const found = useLoad(
    () => answered(api.GET("/v1/unknowns", { params: { query: { ignored } } })),
    [ignored],
  );
  const [enrolling, setEnrolling] = useState<Unknown | null>(null);
  const [forgetting, setForgetting] = useState<Unknown | null>(null);
  const [enrolled, setEnrolled] = useState<string | null>(null);
  const ignoring = useAction(async (one: Unknown) => {
    await answered(
      api.POST("/v1/unknowns/{unknown_id}/ignore", {
        params: { path: { unknown_id: one.unknown_id } },
        body: { ignored: !one.ignored },
      }),
    );
    announce(t(one.ignored ? "unknowns.shown.again" : "unknowns.ignored"));
    found.reload();
  });
  const unknowns = found.data?.unknowns ?? [];
  const notKept = found.problem?.code === "probes_not_kept";
  return (
    <>
      <PageHead title={t("unknowns")} lead={t("unknowns.lead")}>
        <label class="check">
          <input type="checkbox" checked={ignored} onChange={(event) => setIgnored(event.currentTarget.checked)} />
          {t("unknowns.withignored")}
        </label>
        <Button onClick={found.reload}>{t("refresh")}</Button>
      </PageHead>
      {enrolled !== null && (
        <Note tone="good" title={t("unknowns.enrolled")}>
          <p>
            <a href={href("subjects", enrolled)}>{t("enrolled.show", { id: enrolled })}</a>
          </p>
        </Note>
      )}
      {notKept ? (
        <Empty title={t("unknowns.off")}>
          <p>{t("unknowns.off.do")}</p>
          <pre>HALFLIGHT_KEEP_PROBES_HOURS=24</pre>
        </Empty>
      ) : (
        found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />
      )}
      {ignoring.problem && <ProblemNote problem={ignoring.problem} />}
      {found.loading && !found.data && <Loading />}
      {found.data && !found.problem && unknowns.length === 0 && (
        <Empty title={t("unknowns.none")}>
          <p>{t("unknowns.none.do")}</p>
        </Empty>
      )}
      {!found.problem && (
        <ul class="unknowns">
          {unknowns.map((one) => (
            <li key={one.unknown_id} class="card">
              <div class="row">
                <Crop eventId={one.best_event_id} alt={t("unknowns.crop")} />
                <div>
                  <p class="title">
                    {tn("unknowns.seen", one.count)} {one.ignored && <Badge>{t("unknowns.isignored")}</Badge>}
                  </p>
                  <p class="told">
                    <Moment at={one.first_seen} /> – <Moment at={one.last_seen} />
                  </p>
                  {one.cameras.length > 0 && <p class="told">{one.cameras.join(", ")}</p>}
                </div>
              </div>
              {one.count > 1 && (
                <details>
                  <summary>{t("unknowns.all")}</summary>
                  <div class="crops">
                    {one.event_ids.map((id) => (
                      <Crop key={id} eventId={id} alt={t("unknowns.crop")} />
                    ))}
                  </div>
                </details>
              )}
              <div class="row">
                <Button kind="primary" icon="enrol" onClick={() => setEnrolling(one)}>
                  {t("enrol.as")}
                </Button>
                <Button busy={ignoring.busy} onClick={() => void ignoring.run(one)}>
                  {t(one.ignored ? "unknowns.unignore" : "unknowns.ignore")}
                </Button>
                <Button kind="danger" icon="trash" onClick={() => setForgetting(one)}>
                  {t("unknowns.forget")}
                </Button>
              </div>
            </li>
          ))}
        </ul>
      )}
      {found.data?.more && <p class="told">{t("unknowns.more")}</p>}
      {enrolling && (
        <EnrolDialog
          unknown={enrolling}
          onClose={() => setEnrolling(null)}
          onEnrolled={(id) => {
            setEnrolling(null);
            setEnrolled(id);
            found.reload();
          }}
        />
      )}
      {forgetting && (
        <ForgetDialog
          unknown={forgetting}
          onClose={() => setForgetting(null)}
          onForgotten={() => {
            setForgetting(null);
            found.reload();
          }}
        />
      )}
    </>
  );
}

function ForgetDialog(props: { unknown: Unknown; onClose: () => void; onForgotten: () => void }) {
  const forgetting = useAction(async () => {
    const { erased } = await answered(
      api.DELETE("/v1/unknowns/{unknown_id}", { params: { path: { unknown_id: props.unknown.unknown_id } } }),
    );
    announce(tn("unknowns.forgotten", erased));
    props.onForgotten();
  });
  return (
    <Dialog
      title={t("unknowns.forget.title")}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="danger" busy={forgetting.busy} onClick={() => void forgetting.run()}>
            {t("unknowns.forget.do")}
          </Button>
        </>
      }
    >
      <div class="row">
        <Crop eventId={props.unknown.best_event_id} alt={t("unknowns.crop")} />
        <p>{tn("unknowns.forget.told", props.unknown.count)}</p>
      </div>
      {forgetting.problem && <ProblemNote problem={forgetting.problem} />}
    </Dialog>
  );
}

function EnrolDialog(props: { unknown: Unknown; onClose: () => void; onEnrolled: (subjectId: string) => void }) {
  const [id, setId] = useState("");
  const [name, setName] = useState("");
  const enrolling = useAction(async () => {
    const made = await answered(
      api.POST("/v1/unknowns/{unknown_id}/enrol", {
        params: { path: { unknown_id: props.unknown.unknown_id } },
        body: { subject_id: id, display_name: name.trim() || null },
      }),
    );
    announce(tn("enrolled", made.samples.length));
    props.onEnrolled(made.subject_id);
  });
  return (
    <Dialog
      title={t("enrol.as")}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="primary" disabled={!id} busy={enrolling.busy} onClick={() => void enrolling.run()}>
            {t("enrol")}
          </Button>
        </>
      }
    >
      <p>{t("unknowns.enrol.told")}</p>
      <Field label={t("subject.id")} hint={t("unknowns.id.hint")}>
        {(ids) => <input {...ids} value={id} spellcheck={false} onInput={(event) => setId(event.currentTarget.value.trim())} />}
      </Field>
      <Field label={t("display.name")} hint={t("display.name.hint")}>
        {(ids) => <input {...ids} value={name} onInput={(event) => setName(event.currentTarget.value)} />}
      </Field>
      {enrolling.problem && <ProblemNote problem={enrolling.problem} />}
    </Dialog>
  );
}
