/** What pages share: loading, actions, and telling those who do not see the screen. */

import { signal } from "@preact/signals";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { Problem } from "./api/client";

/** Read aloud by a screen reader when it changes. */
export const announcement = signal("");

export function announce(text: string): void {
  // The same text twice is told twice only if it was gone in between.
  announcement.value = "";
  setTimeout(() => {
    announcement.value = text;
  }, 60);
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(-1, "console_error", error instanceof Error ? error.message : String(error));
}

export interface Action<A extends readonly unknown[]> {
  readonly run: (...args: A) => Promise<boolean>;
  readonly busy: boolean;
  readonly problem: Problem | null;
  readonly clear: () => void;
}

/** Something that a person starts: busy while it runs, a problem where it is refused. */
export function useAction<A extends readonly unknown[]>(work: (...args: A) => Promise<void>): Action<A> {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const current = useRef(work);
  current.current = work;
  const run = useCallback(async (...args: A) => {
    setBusy(true);
    setProblem(null);
    try {
      await current.current(...args);
      return true;
    } catch (error) {
      setProblem(asProblem(error));
      return false;
    } finally {
      setBusy(false);
    }
  }, []);
  const clear = useCallback(() => setProblem(null), []);
  return { run, busy, problem, clear };
}

export interface Loaded<T> {
  readonly data: T | null;
  readonly problem: Problem | null;
  readonly loading: boolean;
  readonly reload: () => void;
  readonly put: (data: T) => void;
}

/** What a page shows, asked for again whenever `keys` change; an answer that came too late is dropped. */
export function useLoad<T>(read: () => Promise<T>, keys: readonly unknown[]): Loaded<T> {
  const [data, setData] = useState<T | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [loading, setLoading] = useState(true);
  const [round, setRound] = useState(0);
  useEffect(() => {
    let late = false;
    setLoading(true);
    read().then(
      (found) => {
        if (late) return;
        setData(found);
        setProblem(null);
        setLoading(false);
      },
      (error: unknown) => {
        if (late) return;
        setProblem(asProblem(error));
        setLoading(false);
      },
    );
    return () => {
      late = true;
    };
  }, [...keys, round]);
  const reload = useCallback(() => setRound((old) => old + 1), []);
  return { data, problem, loading, reload, put: setData };
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

export interface Pages<T> {
  readonly first: Loaded<Page<T>>;
  readonly items: readonly T[];
  readonly whole: boolean;
  readonly more: Action<[]>;
}

/** A list that comes in pages: the first whenever `keys` change, and further ones when a person asks. */
export function usePages<T>(read: (cursor: string | null) => Promise<Page<T>>, keys: readonly unknown[]): Pages<T> {
  const first = useLoad(() => read(null), keys);
  const [further, setFurther] = useState<readonly T[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  useEffect(() => {
    setFurther([]);
    setCursor(first.data?.next ?? null);
  }, [first.data]);
  const more = useAction(async () => {
    const page = await read(cursor);
    setFurther((old) => [...old, ...page.items]);
    setCursor(page.next);
  });
  return { first, items: [...(first.data?.items ?? []), ...further], whole: !cursor, more };
}

/** Calls `work` every `everyMs` while the page is seen. */
export function useInterval(work: () => void, everyMs: number, active = true): void {
  const current = useRef(work);
  current.current = work;
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) current.current();
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs, active]);
}
