/** Cameras: what the programs that watch them said last, and how long ago. */

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Card, Empty, Loading, Moment, Note, PageHead, Table, type Tone } from "../components/basics";
import { ProblemNote } from "../components/problem";
import { number } from "../format";
import { useInterval, useLoad } from "../hooks";
import { has, t, type TextKey, tn } from "../texts";

type Watcher = Schemas["WatcherOut"];
type Source = Schemas["SourceReport"];

const EVERY_MS = 5000;
/** Watchers report every 10 s: after three reports that did not come, one is silent. */
const SILENT_S = 35;

const TONES: Readonly<Record<string, Tone>> = { watching: "good", waiting: "warn", failed: "bad", starting: "info" };

/** The text of a word of the service; a word of a later release as it is. */
function word(prefix: string, found: string): string {
  const key = `${prefix}.${found}`;
  return has(key) ? t(key as TextKey) : found;
}

export function WatchersPage() {
  const found = useLoad(() => answered(api.GET("/v1/watchers")), []);
  useInterval(found.reload, EVERY_MS);
  const watchers = found.data?.watchers ?? [];
  return (
    <>
      <PageHead title={t("watchers")} lead={t("watchers.lead")}>
        <Button onClick={found.reload}>{t("refresh")}</Button>
      </PageHead>
      {found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />}
      {!found.data && !found.problem && <Loading />}
      {found.data && watchers.length === 0 && (
        <Empty title={t("watchers.none")}>
          <p>{t("watchers.none.do")}</p>
          <pre>halflight watch sources.toml</pre>
        </Empty>
      )}
      {watchers.map((each) => (
        <WatcherCard key={`${each.key_id} ${each.watcher}`} watcher={each} />
      ))}
    </>
  );
}

function WatcherCard({ watcher }: { watcher: Watcher }) {
  const { report } = watcher;
  const ended = report.sources.every((each) => each.state === "ended" || each.state === "failed");
  const silent = !ended && watcher.heard_s_ago > SILENT_S;
  const waiting = report.waiting ?? 0;
  const lost = (report.lost ?? 0) + (report.refused ?? 0);
  return (
    <Card title={watcher.watcher}>
      <p>
        <Badge tone={silent ? "bad" : ended ? "neutral" : "good"}>
          {t("watchers.heard", { n: number(Math.round(watcher.heard_s_ago)) })}
        </Badge>{" "}
        <span class="told">
          {t("watchers.key")} <span class="mono">{watcher.key_id}</span>
        </span>
      </p>
      {silent && (
        <Note tone="bad" title={t("watchers.silent")}>
          <p>{t("watchers.silent.do")}</p>
        </Note>
      )}
      {waiting > 0 && <p class="told">{tn("watchers.waiting", waiting)}</p>}
      {lost > 0 && <Note tone="warn" title={tn("watchers.lost", lost)} />}
      <Table
        label={t("watchers.of", { name: watcher.watcher })}
        heads={[t("camera.name"), t("state"), t("watchers.frames"), t("watchers.decisions"), t("watchers.last"), t("watchers.reconnects")]}
      >
        {report.sources.map((each) => (
          <SourceRow key={each.name} source={each} />
        ))}
      </Table>
    </Card>
  );
}

function SourceRow({ source }: { source: Source }) {
  const dropped = Object.values(source.dropped ?? {}).reduce((sum, each) => sum + each, 0);
  const decisions = Object.entries(source.decisions ?? {});
  return (
    <tr>
      <td>{source.name}</td>
      <td>
        <Badge tone={TONES[source.state] ?? "neutral"}>{word("source", source.state)}</Badge>
        {source.trouble && (
          <p class="told bad" lang="en">
            {source.trouble}
          </p>
        )}
      </td>
      <td class="number">
        {number(source.frames ?? 0)}
        {dropped > 0 && (
          <>
            <br />
            <span class="told">{t("watchers.dropped", { n: number(dropped) })}</span>
          </>
        )}
      </td>
      <td>
        {decisions.length === 0
          ? "–"
          : decisions.map(([decision, count]) => `${word("decision", decision)}: ${number(count)}`).join(" · ")}
      </td>
      <td>
        {source.last_decision ? (
          <>
            {word("decision", source.last_decision)}
            <br />
            <span class="told">
              <Moment at={source.last_decided ?? null} />
            </span>
          </>
        ) : (
          "–"
        )}
      </td>
      <td class="number">{number(source.reconnects ?? 0)}</td>
    </tr>
  );
}
