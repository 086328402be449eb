/** Sign in with a key. It stays in this tab and goes only into the header of requests. */

import { useState } from "preact/hooks";

import { Mark, Preferences } from "../app";
import { Button, Field } from "../components/basics";
import { ProblemNote } from "../components/problem";
import { useAction } from "../hooks";
import { resumeSession, signedOutBy, signIn } from "../session";
import { t } from "../texts";

export function SignIn() {
  const [key, setKey] = useState("");
  const entering = useAction(async () => {
    signedOutBy.value = null;
    await signIn(key.trim());
  });
  const problem = entering.problem ?? signedOutBy.value;
  return (
    <main class="alone">
      <form
        class="card signin"
        onSubmit={(event) => {
          event.preventDefault();
          void entering.run();
        }}
      >
        <p class="brand">
          <Mark /> Halflight
        </p>
        <h1>{t("signin.title")}</h1>
        <p class="lead">{t("signin.lead")}</p>
        {problem && (
          <ProblemNote
            problem={problem}
            {...(problem.status === 0 || problem.status >= 500 ? { onRetry: () => void resumeSession() } : {})}
          />
        )}
        <Field label={t("signin.key")} hint={t("signin.hint")}>
          {(ids) => (
            <input
              {...ids}
              type="password"
              name="key"
              autocomplete="current-password"
              spellcheck={false}
              required
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          )}
        </Field>
        <Button kind="primary" type="submit" busy={entering.busy}>
          {t("signin.enter")}
        </Button>
        <details>
          <summary>{t("signin.nokey")}</summary>
          <p>{t("signin.make")}</p>
          <pre>halflight keys create --role admin</pre>
        </details>
      </form>
      <Preferences />
    </main>
  );
}
