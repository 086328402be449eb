/** Doors: what each would do or does, why, and the switch from a dry run to live. */

import { useEffect, useState } from "preact/hooks";

import { answered, api, follow, type Schemas } from "../api/client";
import { Badge, Button, Card, Empty, Field, Loading, Moment, Note, PageHead, type Tone } from "../components/basics";
import { Dialog } from "../components/dialog";
import { LivenessBadge, NoLiveness } from "../components/liveness";
import { ProblemNote } from "../components/problem";
import { announce, useAction, useLoad } from "../hooks";
import { has, t, type TextKey } from "../texts";

type Door = Schemas["DoorOut"];
type Outcome = Schemas["DoorOutcomeOut"];

const KEPT = 20;
const TONES: Readonly<Record<Outcome["outcome"], Tone>> = {
  opened: "good",
  opening: "info",
  would_open: "info",
  denied: "neutral",
  failed: "bad",
};

function reason(found: string): string {
  const key = `door.reason.${found}`;
  return has(key) ? t(key as TextKey) : found;
}

export function DoorsPage() {
  const found = useLoad(() => answered(api.GET("/v1/admin/doors")), []);
  // What came since; its checks are asked for with the next look, since each look stands in the audit log.
  const [news, setNews] = useState<readonly Outcome[]>([]);
  const [switching, setSwitching] = useState<Door | null>(null);
  useEffect(() => {
    const stopping = new AbortController();
    void follow("events?recent=0", stopping.signal, {
      onEvent: ({ event, data }) => {
        if (event !== "door") return;
        const outcome = { ...(data as Outcome), rules: [] };
        setNews((old) => [outcome, ...old].slice(0, KEPT * 4));
      },
    });
    return () => stopping.abort();
  }, []);
  const doors = found.data?.doors ?? [];
  const refresh = (): void => {
    setNews([]);
    found.reload();
  };
  return (
    <>
      <PageHead title={t("doors")} lead={t("doors.lead")}>
        <Button onClick={refresh}>{t("refresh")}</Button>
      </PageHead>
      {found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />}
      {!found.data && !found.problem && <Loading />}
      {found.data && doors.length === 0 && (
        <Empty title={t("doors.none")}>
          <p>{t("doors.none.do")}</p>
          <pre>HALFLIGHT_DOORS_FILE=doors.toml</pre>
        </Empty>
      )}
      {doors.some((each) => each.liveness !== "asked") && <NoLiveness />}
      {doors.map((each) => (
        <DoorCard
          key={each.name}
          door={each}
          news={news.filter(
            (one) => one.door === each.name && !each.last.some((known) => known.event_id === one.event_id),
          )}
          onSwitch={() => setSwitching(each)}
        />
      ))}
      {switching && (
        <SwitchDialog
          door={switching}
          onClose={() => setSwitching(null)}
          onSwitched={() => {
            setSwitching(null);
            refresh();
          }}
        />
      )}
    </>
  );
}

function DoorCard({ door, news, onSwitch }: { door: Door; news: readonly Outcome[]; onSwitch: () => void }) {
  const outcomes = [...news, ...door.last].slice(0, KEPT);
  return (
    <Card
      title={door.name}
      actions={
        door.switchable && (
          <Button kind={door.dry_run ? "primary" : "plain"} onClick={onSwitch}>
            {t(door.dry_run ? "door.golive" : "door.godry")}
          </Button>
        )
      }
    >
      <p class="row tight">
        <Badge tone={door.dry_run ? "info" : "warn"}>{t(door.dry_run ? "door.dry" : "door.live")}</Badge>
        {door.liveness !== "asked" && <Badge tone="warn">{t("noliveness.short")}</Badge>}
      </p>
      <dl class="facts">
        <dt>{t("door.cameras")}</dt>
        <dd>{door.cameras.join(", ")}</dd>
        <dt>{t("door.output")}</dt>
        <dd>
          {door.output} · {has(`door.state.${door.state}`) ? t(`door.state.${door.state}` as TextKey) : door.state}
        </dd>
        <dt>{t("door.liveness")}</dt>
        <dd>{t(`door.liveness.${door.liveness.replaceAll(" ", "_")}` as TextKey)}</dd>
        <dt>{t("door.rules")}</dt>
        <dd>
          {door.rules.map((rule) => `${rule.name} (${t(`door.effect.${rule.effect}`)})`).join(", ")}
        </dd>
      </dl>
      {!door.switchable && (
        <p class="told">{t(door.dry_run ? "door.byfile.dry" : "door.byfile.live")}</p>
      )}
      <h3>{t("door.last")}</h3>
      {outcomes.length === 0 ? (
        <p class="told">{t("door.last.none")}</p>
      ) : (
        <ol class="outcomes" aria-label={t("door.last.of", { name: door.name })}>
          {outcomes.map((each) => (
            <OutcomeItem key={each.event_id} outcome={each} />
          ))}
        </ol>
      )}
    </Card>
  );
}

function OutcomeItem({ outcome }: { outcome: Outcome }) {
  const name = outcome.subject?.display_name ?? outcome.subject?.subject_id ?? t("nobody");
  return (
    <li>
      <p class="row tight">
        <Badge tone={TONES[outcome.outcome]}>{t(`door.outcome.${outcome.outcome}`)}</Badge>
        <strong>{name}</strong>
        <LivenessBadge liveness={outcome.liveness} />
      </p>
      <p class="told">
        <Moment at={outcome.at} seconds /> · {outcome.camera} · {reason(outcome.reason)}
        {outcome.rule && ` · ${outcome.rule}`}
      </p>
      {outcome.rules.length > 0 && (
        <details>
          <summary>{t("door.why")}</summary>
          {outcome.rules.map((rule) => (
            <div key={rule.name}>
              <p>
                <strong>{rule.name}</strong> ({t(`door.effect.${rule.effect}`)}):{" "}
                {t(rule.holds ? "door.rule.holds" : "door.rule.holdsnot")}
              </p>
              <ul>
                {rule.conditions.map((each) => (
                  <li key={each.said}>
                    {t(each.met ? "door.check.met" : "door.check.notmet")}{" "}
                    {has(`door.check.${each.check}`) ? t(`door.check.${each.check}` as TextKey) : each.check}:{" "}
                    <span lang="en">{each.said}</span>
                  </li>
                ))}
              </ul>
            </div>
          ))}
        </details>
      )}
    </li>
  );
}

/** To live only with the door's name typed; back to a dry run with one press. */
function SwitchDialog(props: { door: Door; onClose: () => void; onSwitched: () => void }) {
  const { door } = props;
  const [typed, setTyped] = useState("");
  const switching = useAction(async () => {
    await answered(
      api.PUT("/v1/admin/doors/{door}/mode", {
        params: { path: { door: door.name } },
        body: { dry_run: !door.dry_run },
      }),
    );
    announce(t(door.dry_run ? "door.islive" : "door.isdry"));
    props.onSwitched();
  });
  return (
    <Dialog
      title={t(door.dry_run ? "door.golive.title" : "door.godry.title", { name: door.name })}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button
            kind={door.dry_run ? "danger" : "primary"}
            disabled={door.dry_run && typed !== door.name}
            busy={switching.busy}
            onClick={() => void switching.run()}
          >
            {t(door.dry_run ? "door.golive.do" : "door.godry")}
          </Button>
        </>
      }
    >
      <p>{t(door.dry_run ? "door.golive.told" : "door.godry.told")}</p>
      {door.dry_run && (
        <>
          {door.liveness !== "asked" && <Note tone="warn" title={t("noliveness")} />}
          <Field label={t("door.golive.type", { name: door.name })}>
            {(ids) => (
              <input {...ids} value={typed} spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
            )}
          </Field>
        </>
      )}
      {switching.problem && <ProblemNote problem={switching.problem} />}
    </Dialog>
  );
}
