/** The models in service: fill a new one, switch to it, switch back. */

import { useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Card, Field, Loading, Moment, Note, PageHead, type Tone } from "../components/basics";
import { Dialog } from "../components/dialog";
import { ProblemNote } from "../components/problem";
import { number } from "../format";
import { announce, useAction, useInterval, useLoad } from "../hooks";
import { refreshReadiness } from "../readiness";
import { href } from "../route";
import { t, type TextKey } from "../texts";

type Space = Schemas["SpaceOut"];
type Step = "backfill" | "activate" | "rollback" | "retire" | "erase";

const TONES: Readonly<Record<Space["state"], Tone>> = {
  registered: "neutral",
  backfilling: "info",
  ready: "warn",
  active: "good",
  retired: "neutral",
};
const EVERY_MS = 2000;

/** What may be done with a space now, the usual step first. */
function stepsOf(space: Space, active: Space | undefined): readonly Step[] {
  const older = active !== undefined && space.created_at < active.created_at;
  switch (space.state) {
    case "registered":
      return ["backfill", "erase"];
    case "backfilling":
      return ["retire"];
    case "ready":
      return [older ? "rollback" : "activate", "retire", "erase"];
    case "retired":
      return ["backfill", "erase"];
    case "active":
      return [];
  }
}

async function take(step: Step, space_id: string): Promise<void> {
  const where = { params: { path: { space_id } } };
  if (step === "backfill") await answered(api.POST("/v1/admin/spaces/{space_id}/backfill", where));
  else if (step === "retire") await answered(api.POST("/v1/admin/spaces/{space_id}/retire", where));
  else if (step === "erase") await answered(api.DELETE("/v1/admin/spaces/{space_id}", where));
  else await answered(api.POST("/v1/admin/spaces/{space_id}/activate", where));
}

export function SpacesPage() {
  const found = useLoad(() => answered(api.GET("/v1/admin/spaces")), []);
  const [asked, setAsked] = useState<{ step: Step; space: Space } | null>(null);
  const [registering, setRegistering] = useState(false);
  const spaces = [...(found.data?.spaces ?? [])].reverse();
  const active = spaces.find((space) => space.state === "active");
  useInterval(found.reload, EVERY_MS, spaces.some((space) => space.state === "backfilling"));
  const taking = useAction(async (step: Step, space: Space) => {
    await take(step, space.space_id);
    setAsked(null);
    announce(t(`step.${step}.done`));
    found.reload();
    void refreshReadiness();
  });
  return (
    <>
      <PageHead title={t("spaces")} lead={t("spaces.lead")}>
        <Button onClick={() => setRegistering(true)}>{t("register")}</Button>
        <a class="button primary" href={href("jobs")}>
          <span>{t("retrain")}</span>
        </a>
      </PageHead>
      {found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />}
      {!found.data && !found.problem && <Loading />}
      {taking.problem && !asked && <ProblemNote problem={taking.problem} />}
      <div class="stack">
        {spaces.map((space) => (
          <SpaceCard
            key={space.space_id}
            space={space}
            steps={stepsOf(space, active)}
            busy={taking.busy}
            onStep={(step) => {
              taking.clear();
              if (step === "backfill") void taking.run(step, space);
              else setAsked({ step, space });
            }}
          />
        ))}
      </div>
      {asked && (
        <Dialog
          title={t(`step.${asked.step}.title`, { name: nameOf(asked.space) })}
          onClose={() => setAsked(null)}
          actions={
            <>
              <Button onClick={() => setAsked(null)}>{t("cancel")}</Button>
              <Button
                kind={asked.step === "erase" ? "danger" : "primary"}
                busy={taking.busy}
                onClick={() => void taking.run(asked.step, asked.space)}
              >
                {t(`step.${asked.step}`)}
              </Button>
            </>
          }
        >
          <p>{t(`step.${asked.step}.told`)}</p>
          {taking.problem && <ProblemNote problem={taking.problem} />}
        </Dialog>
      )}
      {registering && (
        <RegisterDialog
          onClose={() => setRegistering(false)}
          onRegistered={() => {
            setRegistering(false);
            found.reload();
          }}
        />
      )}
    </>
  );
}

function nameOf(space: Space): string {
  return space.bundle ? `${space.bundle.name} ${space.bundle.version}` : space.space_id;
}

function SpaceCard(props: { space: Space; steps: readonly Step[]; busy: boolean; onStep: (step: Step) => void }) {
  const { space } = props;
  const total = space.templates + space.missing;
  return (
    <Card title={nameOf(space)} actions={<Badge tone={TONES[space.state]}>{t(`space.${space.state}` as TextKey)}</Badge>}>
      <dl class="facts">
        <dt>{t("space")}</dt>
        <dd class="mono">{space.space_id}</dd>
        <dt>{t("created")}</dt>
        <dd>
          <Moment at={space.created_at} />
        </dd>
        <dt>{t("erased.templates")}</dt>
        <dd>
          {number(space.templates)}
          {space.missing > 0 && ` (${t("space.missing", { n: number(space.missing) })})`}
        </dd>
      </dl>
      {space.state === "backfilling" && total > 0 && (
        <span class="progress">
          <progress max={total} value={space.templates} aria-label={t("progress")} />
          <span class="number">
            {number(space.templates)} / {number(total)}
          </span>
        </span>
      )}
      {space.message && (
        <Note tone="warn">
          <p lang="en">{space.message}</p>
        </Note>
      )}
      {props.steps.length > 0 && (
        <div class="row">
          {props.steps.map((step, index) => (
            <Button
              key={step}
              kind={step === "erase" ? "danger" : index === 0 ? "primary" : "plain"}
              disabled={props.busy}
              aria-label={`${t(`step.${step}`)}: ${nameOf(space)}`}
              onClick={() => props.onStep(step)}
            >
              {t(`step.${step}`)}
            </Button>
          ))}
        </div>
      )}
    </Card>
  );
}

function RegisterDialog(props: { onClose: () => void; onRegistered: () => void }) {
  const [bundle, setBundle] = useState("");
  const registering = useAction(async () => {
    await answered(api.POST("/v1/admin/spaces", { body: { bundle } }));
    announce(t("registered"));
    props.onRegistered();
  });
  return (
    <Dialog
      title={t("register")}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="primary" disabled={!bundle} busy={registering.busy} onClick={() => void registering.run()}>
            {t("register")}
          </Button>
        </>
      }
    >
      <p>{t("register.told")}</p>
      <Field label={t("bundle")}>
        {(ids) => (
          <input {...ids} value={bundle} spellcheck={false} onInput={(event) => setBundle(event.currentTarget.value.trim())} />
        )}
      </Field>
      {registering.problem && <ProblemNote problem={registering.problem} />}
    </Dialog>
  );
}
