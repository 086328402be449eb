/** Language and colour scheme: what the browser asks for, until somebody chooses otherwise. */

import { effect, signal } from "@preact/signals";

export type Language = "en" | "de";
export type Scheme = "system" | "light" | "dark";

export const LANGUAGES: readonly Language[] = ["en", "de"];
export const SCHEMES: readonly Scheme[] = ["system", "light", "dark"];

function stored<T extends string>(name: string, allowed: readonly T[]): T | null {
  // A browser that keeps no storage throws here; the choice then lasts as long as the page.
  try {
    const found = localStorage.getItem(name);
    return allowed.find((each) => each === found) ?? null;
  } catch {
    return null;
  }
}

function store(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // See `stored`.
  }
}

const preferred: Language = navigator.language.toLowerCase().startsWith("de") ? "de" : "en";

export const language = signal<Language>(stored("halflight.language", LANGUAGES) ?? preferred);
export const scheme = signal<Scheme>(stored("halflight.scheme", SCHEMES) ?? "system");

export function chooseLanguage(chosen: Language): void {
  language.value = chosen;
  store("halflight.language", chosen);
}

export function chooseScheme(chosen: Scheme): void {
  scheme.value = chosen;
  store("halflight.scheme", chosen);
}

export function startPreferences(): void {
  effect(() => {
    document.documentElement.lang = language.value;
  });
  effect(() => {
    document.documentElement.dataset["scheme"] = scheme.value;
  });
}
