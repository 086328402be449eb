/** Find subjects. With an id in the address, one of them (`subject.tsx`). */

import { useEffect, useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Empty, Field, Loading, Moment, PageHead, Select, Table } from "../components/basics";
import { MorePages } from "../components/pages";
import { ProblemNote } from "../components/problem";
import { initials } from "../format";
import { type Page, usePages } from "../hooks";
import { href, route } from "../route";
import { t, tn } from "../texts";
import { SubjectPage } from "./subject";

type Subject = Schemas["SubjectOut"];
type Spectrum = "" | "vis" | "nir";
const PAGE = 50;
const TYPING_MS = 250;

export function SubjectsPage() {
  const [, id] = route.value;
  return id === undefined ? <SubjectList /> : <SubjectPage key={id} id={id} />;
}

interface Query {
  name: string;
  id: string;
  spectrum: Spectrum;
}

async function read(query: Query, cursor: string | null): Promise<Page<Subject>> {
  const found = await answered(
    api.GET("/v1/subjects", {
      params: {
        query: {
          limit: PAGE,
          ...(query.name.trim() ? { name: query.name.trim() } : {}),
          ...(query.id.trim() ? { id_prefix: query.id.trim() } : {}),
          ...(query.spectrum ? { spectrum: query.spectrum } : {}),
          ...(cursor ? { cursor } : {}),
        },
      },
    }),
  );
  return { items: found.subjects, next: found.next_cursor };
}

function SubjectList() {
  const [typed, setTyped] = useState<Query>({ name: "", id: "", spectrum: "" });
  const [query, setQuery] = useState(typed);
  useEffect(() => {
    const timer = setTimeout(() => setQuery(typed), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const pages = usePages((cursor) => read(query, cursor), [query]);
  const { first, items: subjects } = pages;
  return (
    <>
      <PageHead title={t("subjects")} lead={t("subjects.lead")}>
        <a class="button primary" href={href("enrol")}>
          <span>{t("enrol")}</span>
        </a>
      </PageHead>
      <search class="row fields">
        <Field label={t("search.name")}>
          {(ids) => (
            <input
              {...ids}
              type="search"
              value={typed.name}
              onInput={(event) => setTyped({ ...typed, name: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field label={t("search.id")}>
          {(ids) => (
            <input
              {...ids}
              type="search"
              spellcheck={false}
              value={typed.id}
              onInput={(event) => setTyped({ ...typed, id: event.currentTarget.value })}
            />
          )}
        </Field>
        <Select<Spectrum>
          label={t("search.spectrum")}
          value={typed.spectrum}
          choices={[
            { value: "", text: t("any") },
            { value: "vis", text: t("spectrum.vis") },
            { value: "nir", text: t("spectrum.nir") },
          ]}
          onChange={(spectrum) => setTyped({ ...typed, spectrum })}
        />
      </search>
      {first.problem && <ProblemNote problem={first.problem} onRetry={first.reload} />}
      {first.loading && !first.data && <Loading />}
      {first.data && subjects.length === 0 && (
        <Empty title={t("subjects.none")}>
          <p>{t("subjects.none.do")}</p>
        </Empty>
      )}
      {subjects.length > 0 && (
        <>
          <Table label={t("subjects")} heads={[t("subject"), t("photos"), t("enrolled.at"), t("changed.at")]}>
            {subjects.map((one) => (
              <tr key={one.subject_id}>
                <td>
                  <a class="who-cell" href={href("subjects", one.subject_id)}>
                    <span class="avatar" aria-hidden="true">
                      {initials(one.display_name ?? one.subject_id)}
                    </span>
                    <span>
                      {one.display_name ?? one.subject_id}
                      {one.display_name && <span class="told mono">{one.subject_id}</span>}
                    </span>
                  </a>
                </td>
                <td class="number">{one.samples}</td>
                <td><Moment at={one.created_at} /></td>
                <td><Moment at={one.updated_at} /></td>
              </tr>
            ))}
          </Table>
          <MorePages pages={pages} shown={tn("subjects.shown", subjects.length)} />
        </>
      )}
    </>
  );
}
