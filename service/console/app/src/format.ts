/** Numbers and moments as the chosen language writes them. */

import { language } from "./preferences";

/** The browser's own variety of the chosen language, such as `en-GB`. */
function locale(): string {
  return navigator.languages.find((each) => each.toLowerCase().startsWith(language.value)) ?? language.value;
}

export function moment(text: string | null): string {
  if (text === null) return "–";
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(at);
}

export function clock(text: string): string {
  return new Intl.DateTimeFormat(locale(), { timeStyle: "medium" }).format(new Date(text));
}

export function number(value: number, digits = 0): string {
  return new Intl.NumberFormat(locale(), {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

export function percent(value: number, digits = 1): string {
  return new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: digits }).format(value);
}

/** A rate such as an FMR: `1e-4`, as the API and the command line write it. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const [mantissa = "1", exponent = "0"] = value.toExponential(1).split("e");
  return `${mantissa.replace(/\.0$/, "")}e${Number(exponent)}`;
}

export function score(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : number(value, 3);
}

/** The first letters of up to two words of a name: what stands for a photo that nobody may see. */
export function initials(name: string): string {
  const words = name.split(/[\s._:@-]+/u).filter(Boolean);
  const letters = words.slice(0, 2).map((word) => [...word][0] ?? "");
  return letters.join("").toUpperCase() || "?";
}
