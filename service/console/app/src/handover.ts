/** Pictures that one page hands to another. They live in this tab's memory alone, until they are taken. */

import { signal } from "@preact/signals";

export interface Handover {
  readonly pictures: readonly File[];
  readonly subjectId: string | null;
  readonly spectrum: "vis" | "nir" | null;
}

export const toEnrol = signal<Handover | null>(null);

export function asFile(blob: Blob, name = "picture"): File {
  return blob instanceof File ? blob : new File([blob], name, { type: blob.type });
}
