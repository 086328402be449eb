/** Keys: who may ask what, made and revoked. */

import { useState } from "preact/hooks";

import { answered, api, type Schemas } from "../api/client";
import { Badge, Button, Card, Field, Loading, Moment, Note, PageHead, Select, Table, type Tone } from "../components/basics";
import { Dialog } from "../components/dialog";
import { ProblemNote } from "../components/problem";
import { announce, useAction, useLoad } from "../hooks";
import { session, type Role, whoami } from "../session";
import { t } from "../texts";

type Key = Schemas["KeyOut"];
type Created = Schemas["CreatedKeyOut"];

const TONES: Readonly<Record<Key["state"], Tone>> = { active: "good", expired: "warn", revoked: "neutral" };
const DAYS = ["", "1", "30", "90", "365"] as const;
type Days = (typeof DAYS)[number];

export function KeysPage() {
  const found = useLoad(() => answered(api.GET("/v1/admin/keys", { params: { query: { limit: 1000 } } })), []);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Key | null>(null);
  const keys = [...(found.data?.keys ?? [])].sort((a, b) => b.created_at.localeCompare(a.created_at));
  return (
    <>
      <PageHead title={t("keys")} lead={t("keys.lead")}>
        <Button kind="primary" icon="keys" onClick={() => setMaking(true)}>
          {t("keys.make")}
        </Button>
      </PageHead>
      {whoami.value?.open_access && (
        <Note tone="warn" title={t("access.open.title")}>
          <p>{t("keys.first")}</p>
        </Note>
      )}
      {found.problem && <ProblemNote problem={found.problem} onRetry={found.reload} />}
      {!found.data && !found.problem && <Loading />}
      {keys.length > 0 && (
        <Table label={t("keys")} heads={[t("key"), t("role"), t("state"), t("created"), t("expires"), t("used"), ""]}>
          {keys.map((key) => (
            <tr key={key.key_id}>
              <td>
                {key.label || "–"}
                <br />
                <span class="told mono">{key.key_id}</span>
              </td>
              <td>
                {key.role}
                {key.permissions.length > 0 && <span class="told"> + {key.permissions.join(", ")}</span>}
              </td>
              <td>
                <Badge tone={TONES[key.state]}>{t(`key.${key.state}`)}</Badge>
              </td>
              <td>
                <Moment at={key.created_at} />
              </td>
              <td>
                <Moment at={key.expires_at} />
              </td>
              <td>
                <Moment at={key.last_used_at} />
              </td>
              <td>
                {key.state === "active" && (
                  <Button kind="danger" onClick={() => setRevoking(key)} aria-label={`${t("revoke")}: ${key.label || key.key_id}`}>
                    {t("revoke")}
                  </Button>
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
      {making && (
        <MakeDialog
          onClose={() => {
            setMaking(false);
            // The first key ends open access: this tab then needs one as well.
            if (whoami.value?.open_access && keys.length === 0) session.value = "out";
            else found.reload();
          }}
        />
      )}
      {revoking && (
        <RevokeDialog
          of={revoking}
          onClose={() => setRevoking(null)}
          onRevoked={() => {
            setRevoking(null);
            found.reload();
          }}
        />
      )}
    </>
  );
}

function MakeDialog({ onClose }: { onClose: () => void }) {
  const [label, setLabel] = useState("");
  const [role, setRole] = useState<Role>(whoami.value?.open_access ? "admin" : "probe");
  const [days, setDays] = useState<Days>("");
  const [investigate, setInvestigate] = useState(false);
  const [made, setMade] = useState<Created | null>(null);
  const making = useAction(async () => {
    const key = await answered(
      api.POST("/v1/admin/keys", {
        body: {
          role,
          label: label.trim(),
          permissions: role === "probe" && investigate ? ["investigate"] : [],
          expires_at: days ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : null,
        },
      }),
    );
    setMade(key);
    announce(t("key.made"));
  });
  if (made) {
    return (
      <Dialog
        title={t("key.made")}
        onClose={onClose}
        actions={
          <>
            <Button onClick={() => void navigator.clipboard.writeText(made.token).then(() => announce(t("copied")))}>
              {t("copy")}
            </Button>
            <Button kind="primary" onClick={onClose}>
              {t("key.have")}
            </Button>
          </>
        }
      >
        <Note tone="warn" title={t("key.once")} />
        <pre class="token">{made.token}</pre>
      </Dialog>
    );
  }
  return (
    <Dialog
      title={t("keys.make")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button kind="primary" busy={making.busy} onClick={() => void making.run()}>
            {t("keys.make")}
          </Button>
        </>
      }
    >
      <Field label={t("key.label")} hint={t("key.label.hint")}>
        {(ids) => <input {...ids} value={label} maxLength={128} onInput={(event) => setLabel(event.currentTarget.value)} />}
      </Field>
      <Select<Role>
        label={t("role")}
        value={role}
        choices={[
          { value: "probe", text: t("role.probe.may") },
          { value: "operator", text: t("role.operator.may") },
          { value: "admin", text: t("role.admin.may") },
        ]}
        onChange={setRole}
      />
      {role === "probe" && (
        <label class="check">
          <input type="checkbox" checked={investigate} onChange={(event) => setInvestigate(event.currentTarget.checked)} />
          {t("key.investigate")}
        </label>
      )}
      <Select<Days>
        label={t("expires")}
        value={days}
        choices={DAYS.map((each) => ({ value: each, text: each ? t("key.days", { n: each }) : t("key.never") }))}
        onChange={setDays}
      />
      {making.problem && <ProblemNote problem={making.problem} />}
    </Dialog>
  );
}

function RevokeDialog(props: { of: Key; onClose: () => void; onRevoked: () => void }) {
  const key = props.of;
  const revoking = useAction(async () => {
    await answered(api.DELETE("/v1/admin/keys/{key_id}", { params: { path: { key_id: key.key_id } } }));
    announce(t("key.revoked"));
    props.onRevoked();
  });
  return (
    <Dialog
      title={t("revoke.title", { name: key.label || key.key_id })}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{t("cancel")}</Button>
          <Button kind="danger" busy={revoking.busy} onClick={() => void revoking.run()}>
            {t("revoke")}
          </Button>
        </>
      }
    >
      <Card>
        <p>{t("revoke.told")}</p>
        {key.key_id === whoami.value?.key_id && <p class="told bad">{t("revoke.own")}</p>}
      </Card>
      {revoking.problem && <ProblemNote problem={revoking.problem} />}
    </Dialog>
  );
}
