/** Receivers of events: what waits for each, what it was sent last, and what it is sent no more. */

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Card, Empty, Loading, Moment, Note, PageHead, Table } from "../components/basics";
import { ProblemNote } from "../components/problem";
import { number } from "../format";
import { announce, useAction, useLoad } from "../hooks";
import { t, tn } from "../texts";

type Receiver = Schemas["ReceiverOut"];
type Letter = Schemas["DeadEventOut"];

/** After so long a receiver that answers has what was sent again. */
const LOOK_AGAIN_MS = 2000;

export function ReceiversPage() {
  const found = useLoad(() => answered(api.GET("/v1/admin/webhooks")), []);
  const sending = useAction(async (letter: Letter | null) => {
    const asked = { event_ids: letter && [letter.event_id], receiver: letter && letter.receiver };
    const { replayed } = await answered(api.POST("/v1/admin/webhooks/replay", { body: asked }));
    announce(tn("receivers.sent", replayed));
    found.reload();
    setTimeout(found.reload, LOOK_AGAIN_MS);
  });
  const { data } = found;
  return (
    <>
      <PageHead title={t("receivers")} lead={t("receivers.lead")}>
        <Button onClick={found.reload}>{t("refresh")}</Button>
      </PageHead>
      {found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />}
      {sending.problem && <ProblemNote problem={sending.problem} />}
      {!data && !found.problem && <Loading />}
      {data && data.receivers.length === 0 && (
        <Empty title={t("receivers.none")}>
          <p>{t("receivers.none.do")}</p>
          <pre>HALFLIGHT_WEBHOOK_URL, HALFLIGHT_MQTT_URL</pre>
        </Empty>
      )}
      {data && data.receivers.length > 0 && (
        <Table
          label={t("receivers")}
          heads={[t("receivers.receiver"), t("receivers.waiting"), t("receivers.dead"), t("receivers.delivered"), t("receivers.failed")]}
        >
          {data.receivers.map((each) => (
            <ReceiverRow key={each.name} receiver={each} />
          ))}
        </Table>
      )}
      {data && data.dead > 0 && (
        <Card
          title={t("receivers.letters")}
          actions={
            <Button busy={sending.busy} onClick={() => void sending.run(null)}>
              {t("receivers.again.all", { n: number(data.dead) })}
            </Button>
          }
        >
          <Note tone="warn" title={tn("receivers.undelivered", data.dead)}>
            <p>{t("receivers.undelivered.do")}</p>
          </Note>
          <Table
            label={t("receivers.letters")}
            heads={[t("receivers.event"), t("receivers.receiver"), t("receivers.attempts"), t("receivers.error"), ""]}
          >
            {data.dead_letters.map((each) => (
              <tr key={`${each.event_id} ${each.receiver}`}>
                <td>
                  <Moment at={each.at} />
                  <br />
                  <span class="told mono">{each.event_id}</span>
                </td>
                <td>{each.receiver}</td>
                <td class="number">{number(each.attempts)}</td>
                <td lang="en">{each.last_error}</td>
                <td>
                  <Button
                    busy={sending.busy}
                    aria-label={`${t("receivers.again")}: ${each.event_id}`}
                    onClick={() => void sending.run(each)}
                  >
                    {t("receivers.again")}
                  </Button>
                </td>
              </tr>
            ))}
          </Table>
        </Card>
      )}
    </>
  );
}

function ReceiverRow({ receiver }: { receiver: Receiver }) {
  return (
    <tr>
      <td>
        {receiver.name}
        <br />
        <span class="told">{receiver.kind ?? t("receivers.gone")}</span>
      </td>
      <td class="number">{number(receiver.waiting)}</td>
      <td class="number">
        {receiver.dead > 0 ? <Badge tone="bad">{number(receiver.dead)}</Badge> : number(receiver.dead)}
      </td>
      <td>
        <Moment at={receiver.last_delivered_at} />
      </td>
      <td>
        <Moment at={receiver.last_failed_at} />
        {receiver.last_error && (
          <>
            <br />
            <span class="told bad" lang="en">
              {receiver.last_error}
            </span>
          </>
        )}
      </td>
    </tr>
  );
}
