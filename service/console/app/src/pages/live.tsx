/** Decisions as the service makes them. */

import { useEffect, useRef, useState } from "preact/hooks";

import { answered, api, follow, type Problem, type Schemas } from "../api/client";
import { Badge, Button, Empty, Field, Moment, Note, PageHead, Select } from "../components/basics";
import { Crop } from "../components/crop";
import { Dialog } from "../components/dialog";
import { Conditions, Decision, QualityLine } from "../components/faces";
import { LivenessBadge, NoLiveness } from "../components/liveness";
import { ProblemNote } from "../components/problem";
import { ScoreScale } from "../components/score";
import { initials, rate, score } from "../format";
import { announce, useAction } from "../hooks";
import { href } from "../route";
import { allows } from "../session";
import { t, tn } from "../texts";

/** An event of `GET /events`; OpenAPI has no types for what a stream carries. */
interface Decided {
  readonly event_id: string;
  readonly at: string;
  readonly action: "identify" | "verify" | "track";
  readonly decision: "match" | "unknown" | "non-match" | "uncalibrated" | "undecided";
  readonly subject: { readonly subject_id: string; readonly display_name: string | null } | null;
  readonly score: number | null;
  readonly threshold: number | null;
  readonly target_fmr: number | null;
  readonly calibration: Schemas["CalibrationOut"];
  readonly condition: Schemas["ConditionOut"];
  readonly quality: Schemas["QualityOut"];
  readonly camera: string | null;
  readonly crop: boolean;
  readonly liveness: "none" | "live" | "denied";
}

const KEPT = 200;
const RECENT = 50;

type Connection = { state: "opening" | "open" } | { state: "broken"; problem: Problem; retryInS: number | null };
type Shown = "all" | "match" | "other";

export function LivePage() {
  const [events, setEvents] = useState<readonly Decided[]>([]);
  const [missed, setMissed] = useState<number | null | undefined>(undefined);
  const [connection, setConnection] = useState<Connection>({ state: "opening" });
  const [paused, setPaused] = useState(false);
  const [waiting, setWaiting] = useState(0);
  const [shown, setShown] = useState<Shown>("all");
  const [camera, setCamera] = useState("");
  const [round, setRound] = useState(0);
  const held = useRef<Decided[]>([]);
  const isPaused = useRef(false);
  isPaused.current = paused;

  useEffect(() => {
    const stopping = new AbortController();
    const opened = Date.now();
    void follow(`events?recent=${RECENT}`, stopping.signal, {
      onOpen: () => setConnection({ state: "open" }),
      onBroken: (problem, retryInS) => setConnection({ state: "broken", problem, retryInS }),
      onEvent: ({ event, data }) => {
        if (event === "missed") setMissed((data as { count: number | null }).count);
        if (event !== "decision") return;
        const decided = data as Decided;
        if (Date.parse(decided.at) > opened) announce(told(decided));
        if (isPaused.current) {
          held.current = [decided, ...held.current].slice(0, KEPT);
          setWaiting(held.current.length);
        } else {
          setEvents((old) => [decided, ...old.filter((each) => each.event_id !== decided.event_id)].slice(0, KEPT));
        }
      },
    });
    return () => stopping.abort();
  }, [round]);

  const goOn = (): void => {
    const caught = held.current;
    held.current = [];
    setWaiting(0);
    setPaused(false);
    setEvents((old) => [...caught, ...old].slice(0, KEPT));
  };
  const cameras = [...new Set(events.map((each) => each.camera).filter((each) => each !== null))].sort();
  const seen = events.filter(
    (each) =>
      (shown === "all" || (each.decision === "match") === (shown === "match")) &&
      (camera === "" || each.camera === camera),
  );
  return (
    <>
      <PageHead title={t("live")} lead={t("live.lead")}>
        <ConnectionBadge connection={connection} />
        <Button icon={paused ? "play" : "pause"} onClick={() => (paused ? goOn() : setPaused(true))}>
          {paused ? (waiting > 0 ? tn("live.goon", waiting) : t("live.resume")) : t("live.pause")}
        </Button>
      </PageHead>
      {connection.state === "broken" && connection.retryInS === null && (
        <ProblemNote problem={connection.problem} onRetry={() => setRound((old) => old + 1)} />
      )}
      {events.every((each) => each.liveness === "none") && <NoLiveness />}
      {missed !== undefined && (
        <Note tone="warn" title={missed === null ? t("live.missed.some") : tn("live.missed", missed)}>
          <p>{t("live.missed.do")}</p>
        </Note>
      )}
      <div class="row fields">
        <Select<Shown>
          label={t("live.show")}
          value={shown}
          choices={[
            { value: "all", text: t("live.show.all") },
            { value: "match", text: t("live.show.match") },
            { value: "other", text: t("live.show.rest") },
          ]}
          onChange={setShown}
        />
        {cameras.length > 0 && (
          <Select
            label={t("camera.name")}
            value={camera}
            choices={[{ value: "", text: t("any") }, ...cameras.map((each) => ({ value: each, text: each }))]}
            onChange={setCamera}
          />
        )}
      </div>
      {seen.length === 0 ? (
        <Empty title={t("live.none")}>
          <p>{t("live.none.do")}</p>
          <p>
            <a href={href("identify")}>{t("live.try")}</a>
          </p>
        </Empty>
      ) : (
        <ol class="events" aria-label={t("live")}>
          {seen.map((each) => (
            <EventCard key={each.event_id} event={each} />
          ))}
        </ol>
      )}
    </>
  );
}

function told(event: Decided): string {
  const name = event.subject?.display_name ?? event.subject?.subject_id;
  return event.decision === "match" && name ? t("told.match", { name }) : t("told.unknown");
}

function ConnectionBadge({ connection }: { connection: Connection }) {
  if (connection.state === "open") {
    return (
      <Badge tone="good" icon="live">
        {t("live.on")}
      </Badge>
    );
  }
  return <Badge tone="warn">{t(connection.state === "opening" ? "live.opening" : "live.broken")}</Badge>;
}

function EventCard({ event }: { event: Decided }) {
  const [correcting, setCorrecting] = useState(false);
  const [now, setNow] = useState<string | null | undefined>(undefined);
  const name = event.subject?.display_name ?? event.subject?.subject_id ?? t("nobody");
  return (
    <li class={`event ${event.decision === "match" ? "good" : ""}`}>
      {event.crop ? (
        <Crop eventId={event.event_id} alt={t("crop.of", { name })} />
      ) : (
        <span class="avatar large" aria-hidden="true">
          {event.subject ? initials(name) : "?"}
        </span>
      )}
      <div class="event-who">
        <p class="title">
          {event.subject && allows("operator") ? <a href={href("subjects", event.subject.subject_id)}>{name}</a> : name}
        </p>
        <p class="told">
          <Moment at={event.at} seconds />
          {event.camera && ` · ${event.camera}`}
          {event.action === "verify" && ` · ${t("live.verify")}`}
        </p>
      </div>
      <div class="event-facts">
        <div class="row tight">
          <Decision decision={event.decision} />
          <Conditions spectrum={event.condition.spectrum} maskState={event.condition.mask_state} />
          <LivenessBadge liveness={event.liveness} />
        </div>
        {event.score !== null && <ScoreScale score={event.score} threshold={event.threshold} fmr={event.target_fmr} />}
        {event.quality.reasons.length > 0 && <QualityLine quality={event.quality} />}
        <p class="told">
          {t("threshold")} {score(event.threshold)} {t("at.fmr", { fmr: rate(event.target_fmr) })} ·{" "}
          <span class="mono">{event.calibration.pair}</span>
        </p>
        {now !== undefined && <Badge tone="info">{t("corrected", { name: now ?? t("nobody") })}</Badge>}
      </div>
      {/* Only what is kept can be corrected: without the crop nobody could look again. */}
      {event.crop && allows("operator") && (
        <div class="event-acts">
          <Button onClick={() => setCorrecting(true)}>{t(event.decision === "match" ? "notthis" : "whois")}</Button>
        </div>
      )}
      {correcting && (
        <CorrectDialog
          eventId={event.event_id}
          onClose={() => setCorrecting(false)}
          onCorrected={(subjectId) => {
            setCorrecting(false);
            setNow(subjectId);
          }}
        />
      )}
    </li>
  );
}

function CorrectDialog(props: { eventId: string; onClose: () => void; onCorrected: (now: string | null) => void }) {
  const [id, setId] = useState("");
  const correcting = useAction(async () => {
    const corrected = await answered(
      api.POST("/v1/events/{event_id}/correct", {
        params: { path: { event_id: props.eventId } },
        body: { subject_id: id || null },
      }),
    );
    announce(t("correct.done"));
    props.onCorrected(corrected.now);
  });
  return (
    <Dialog
      title={t("correct.title")}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="primary" busy={correcting.busy} onClick={() => void correcting.run()}>
            {t("save")}
          </Button>
        </>
      }
    >
      <p>{t("correct.told")}</p>
      <Field label={t("correct.who")}>
        {(ids) => <input {...ids} value={id} spellcheck={false} onInput={(event) => setId(event.currentTarget.value.trim())} />}
      </Field>
      {correcting.problem && <ProblemNote problem={correcting.problem} />}
    </Dialog>
  );
}
