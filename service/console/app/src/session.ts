/** Who is signed in: the key lies in this tab's sessionStorage, never in an address. */

import { computed, signal } from "@preact/signals";

import { answered, api, Problem, type Schemas, service, whenUnauthorized } from "./api/client";

export type Whoami = Schemas["WhoamiOut"];
export type Role = Whoami["role"];

const KEY = "halflight.key";
const RANK: Readonly<Record<Role, number>> = { probe: 0, operator: 1, admin: 2 };

export const whoami = signal<Whoami | null>(null);
/** `asking` until it is known whether a key is needed. */
export const session = signal<"asking" | "out" | "in">("asking");
/** Why somebody is signed out, to be told on the page where they sign in. */
export const signedOutBy = signal<Problem | null>(null);

export const role = computed<Role>(() => whoami.value?.role ?? "probe");

/** What a page or an action needs: a role, or the sight of every candidate that `investigate` gives. */
export function allows(needed: Role | "investigate"): boolean {
  const me = whoami.value;
  if (me === null) return false;
  if (needed === "investigate") return me.permissions.includes("investigate") || allows("operator");
  return RANK[me.role] >= RANK[needed];
}

function storedKey(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function storeKey(key: string | null): void {
  try {
    if (key === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, key);
  } catch {
    // A browser without storage: the key lasts as long as the page.
  }
}

async function enter(key: string | null): Promise<void> {
  service.useKey(key);
  whoami.value = await answered(api.GET("/v1/whoami"));
  session.value = "in";
  signedOutBy.value = null;
}

/** Sign in with a key. Throws Problem where the service does not let it in. */
export async function signIn(key: string): Promise<void> {
  try {
    await enter(key);
    storeKey(key);
  } catch (error) {
    service.useKey(null);
    throw error;
  }
}

export function signOut(): void {
  storeKey(null);
  service.useKey(null);
  whoami.value = null;
  signedOutBy.value = null;
  session.value = "out";
}

/** Goes on with the key of this tab, or without one where the service is open on this machine. */
export async function resumeSession(): Promise<void> {
  const key = storedKey();
  try {
    await enter(key);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    service.useKey(null);
    // Without a key a 401 is no news: the page asks for one.
    signedOutBy.value = key === null && error.status === 401 ? null : error;
    if (error.status === 401) storeKey(null);
    session.value = "out";
  }
}

whenUnauthorized(() => {
  if (session.value !== "in") return;
  storeKey(null);
  service.useKey(null);
  whoami.value = null;
  signedOutBy.value = new Problem(401, "key_ended", "");
  session.value = "out";
});
