/** The frame: who is signed in, where one can go, and the page. */

import { useEffect, useRef, useState } from "preact/hooks";

import { Badge, Button, Icon, Loading, Note, Select } from "./components/basics";
import { announcement, useInterval } from "./hooks";
import { GROUPS, type PageEntry, PAGES } from "./pages";
import { SignIn } from "./pages/signin";
import { chooseLanguage, chooseScheme, language, LANGUAGES, scheme, SCHEMES } from "./preferences";
import { readiness, refreshReadiness } from "./readiness";
import { href, route } from "./route";
import { allows, session, signOut, whoami } from "./session";
import { LANGUAGE_NAMES, t } from "./texts";

export function App() {
  return (
    <>
      <p class="unseen" role="status" aria-live="polite">
        {announcement.value}
      </p>
      {session.value === "asking" ? (
        <main class="alone">
          <Loading />
        </main>
      ) : session.value === "out" ? (
        <SignIn />
      ) : (
        <Frame />
      )}
    </>
  );
}

function Frame() {
  // A key that may not watch begins where it may do something.
  const [first = PAGES.find((each) => allows(each.role))?.id ?? ""] = route.value;
  const page = PAGES.find((each) => each.id === first) ?? PAGES[0];
  const [open, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const shown = useRef(first);
  useEffect(() => {
    document.title = page ? `${t(page.title)} · Halflight` : "Halflight";
  });
  useEffect(() => {
    setOpen(false);
    if (shown.current === first) return;
    shown.current = first;
    // A new page begins at its heading, for the eye and for a screen reader.
    scrollTo(0, 0);
    main.current?.querySelector("h1")?.focus();
  }, [first]);
  useEffect(() => {
    void refreshReadiness();
  }, []);
  useInterval(() => void refreshReadiness(), 10_000);
  return (
    <div class={open ? "frame open" : "frame"}>
      <a
        class="skip"
        href={href(...route.value)}
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        {t("skip")}
      </a>
      <header class="top">
        <Button
          kind="quiet"
          icon={open ? "close" : "menu"}
          aria-label={t(open ? "menu.close" : "menu.open")}
          aria-expanded={open}
          aria-controls="side"
          onClick={() => setOpen(!open)}
        />
        <a class="brand" href={href()}>
          <Mark /> Halflight
        </a>
        <ServiceState />
      </header>
      <div class="side" id="side">
        <a class="brand" href={href()}>
          <Mark /> Halflight
        </a>
        <Navigation current={page?.id ?? ""} />
        <Foot />
      </div>
      <main ref={main} tabIndex={-1} id="main">
        <Trouble />
        {page && (allows(page.role) ? <page.page key={page.id} /> : <NotAllowed page={page} />)}
      </main>
    </div>
  );
}

export function Mark() {
  return (
    <svg class="mark" width="24" height="24" viewBox="0 0 24 24" aria-hidden="true">
      <circle class="dark" cx="12" cy="12" r="9" />
      <path class="lit" d="M12 3a9 9 0 0 1 0 18z" />
    </svg>
  );
}

function Navigation({ current }: { current: string }) {
  return (
    <nav aria-label={t("nav")}>
      {GROUPS.map((group) => {
        const pages = PAGES.filter((page) => page.group === group && allows(page.role));
        return (
          pages.length > 0 && (
            <div key={group} class="group">
              <h2 id={`nav-${group}`}>{t(`nav.${group}`)}</h2>
              <ul aria-labelledby={`nav-${group}`}>
                {pages.map((page) => (
                  <li key={page.id}>
                    <a href={href(page.id)} {...(page.id === current ? { "aria-current": "page" as const } : {})}>
                      <Icon name={page.icon} />
                      {t(page.title)}
                    </a>
                  </li>
                ))}
              </ul>
            </div>
          )
        );
      })}
    </nav>
  );
}

/** Language, colours and the way out. */
function Foot() {
  const me = whoami.value;
  return (
    <div class="foot">
      <Preferences />
      {me && (
        <div class="me">
          <div>
            <p class="title">{me.open_access ? t("me.open") : me.label || me.key_id}</p>
            <p class="told">{t(`role.${me.role}`)}</p>
          </div>
          {!me.open_access && (
            <Button kind="quiet" icon="out" aria-label={t("signout")} title={t("signout")} onClick={signOut} />
          )}
        </div>
      )}
    </div>
  );
}

export function Preferences() {
  return (
    <div class="preferences">
      <Select
        label={t("language")}
        value={language.value}
        choices={LANGUAGES.map((each) => ({ value: each, text: LANGUAGE_NAMES[each] }))}
        onChange={chooseLanguage}
      />
      <Select
        label={t("scheme")}
        value={scheme.value}
        choices={SCHEMES.map((each) => ({ value: each, text: t(`scheme.${each}`) }))}
        onChange={chooseScheme}
      />
    </div>
  );
}

function ServiceState() {
  const found = readiness.value;
  if (found === null) return null;
  const tone = found.status === "ready" ? "good" : found.status === "degraded" ? "warn" : "bad";
  return <Badge tone={tone}>{t(`health.${found.status}`)}</Badge>;
}

/** What is wrong with the service now, above every page. */
function Trouble() {
  const found = readiness.value;
  if (found === null || found.status === "ready") return null;
  return (
    <Note tone={found.status === "degraded" ? "warn" : "bad"} title={t(`health.${found.status}.title`)}>
      {found.detail && <p lang="en">{found.detail}</p>}
    </Note>
  );
}

function NotAllowed({ page }: { page: PageEntry }) {
  return (
    <>
      <h1 tabIndex={-1}>{t(page.title)}</h1>
      <Note tone="warn" title={t("problem.forbidden")}>
        <p>{t("notallowed", { role: t(`role.${page.role}`) })}</p>
      </Note>
    </>
  );
}
