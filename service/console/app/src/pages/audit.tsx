/** The audit log, and its signed head. */

import { useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Button, Empty, Field, Loading, Moment, PageHead, Table } from "../components/basics";
import { MorePages } from "../components/pages";
import { ProblemNote } from "../components/problem";
import { saveJson } from "../download";
import { type Page, useAction, usePages } from "../hooks";
import { t, tn } from "../texts";

type Entry = Schemas["AuditEntryOut"];
interface Filter {
  actor: string;
  action: string;
  subject_id: string;
  since: string;
}
const NOTHING: Filter = { actor: "", action: "", subject_id: "", since: "" };
const PAGE = 100;

async function read(filter: Filter, cursor: string | null): Promise<Page<Entry>> {
  const found = await answered(
    api.GET("/v1/admin/audit", {
      params: {
        query: {
          limit: PAGE,
          ...(filter.actor ? { actor: filter.actor } : {}),
          ...(filter.action ? { action: filter.action } : {}),
          ...(filter.subject_id ? { subject_id: filter.subject_id } : {}),
          ...(filter.since ? { since: new Date(filter.since).toISOString() } : {}),
          ...(cursor ? { cursor } : {}),
        },
      },
    }),
  );
  return { items: found.entries, next: found.next_cursor };
}

export function AuditPage() {
  const [typed, setTyped] = useState(NOTHING);
  const [filter, setFilter] = useState(NOTHING);
  const pages = usePages((cursor) => read(filter, cursor), [filter]);
  const { first, items: entries } = pages;
  const head = useAction(async () => {
    const signed = await answered(api.GET("/v1/admin/audit/head"));
    saveJson(`audit-head-${signed.audit_id}.json`, signed);
  });
  const input = (name: "actor" | "action" | "subject_id", label: string) => (
    <Field label={label}>
      {(ids) => (
        <input
          {...ids}
          spellcheck={false}
          value={typed[name]}
          onInput={(event) => setTyped({ ...typed, [name]: event.currentTarget.value.trim() })}
        />
      )}
    </Field>
  );
  return (
    <>
      <PageHead title={t("audit")} lead={t("audit.lead")}>
        <Button busy={head.busy} onClick={() => void head.run()}>
          {t("audit.head")}
        </Button>
      </PageHead>
      {head.problem && <ProblemNote problem={head.problem} />}
      <form
        class="row fields"
        onSubmit={(event) => {
          event.preventDefault();
          setFilter(typed);
        }}
      >
        {input("actor", t("audit.actor"))}
        {input("action", t("audit.action"))}
        {input("subject_id", t("subject.id"))}
        <Field label={t("audit.since")}>
          {(ids) => (
            <input
              {...ids}
              type="datetime-local"
              value={typed.since}
              onInput={(event) => setTyped({ ...typed, since: event.currentTarget.value })}
            />
          )}
        </Field>
        <Button type="submit" icon="search">
          {t("audit.find")}
        </Button>
      </form>
      {first.problem && <ProblemNote problem={first.problem} onRetry={first.reload} />}
      {first.loading && !first.data && <Loading />}
      {first.data && !first.problem && entries.length === 0 && <Empty title={t("audit.none")} />}
      {entries.length > 0 && !first.problem && (
        <>
          <Table
            label={t("audit")}
            heads={[t("audit.number"), t("audit.at"), t("audit.actor"), t("audit.action"), t("subject"), t("audit.detail")]}
          >
            {entries.map((entry) => (
              <tr key={entry.audit_id}>
                <td class="number">{entry.audit_id}</td>
                <td>
                  <Moment at={entry.at} />
                </td>
                <td class="mono">{entry.actor}</td>
                <td class="mono">{entry.action}</td>
                <td class="mono">{entry.subject ? entry.subject.slice(0, 10) : "–"}</td>
                <td>
                  <details>
                    <summary>{t("audit.show")}</summary>
                    <pre>{JSON.stringify(entry.detail, null, 1)}</pre>
                  </details>
                </td>
              </tr>
            ))}
          </Table>
          <MorePages pages={pages} shown={tn("audit.shown", entries.length)} />
        </>
      )}
    </>
  );
}
