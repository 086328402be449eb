/** A folder of labelled photos: what it seems to hold, and as one archive to send. */

export interface NamedFile {
  /** Below the folder that was chosen, with its name. */
  readonly path: string;
  readonly file: File;
}

export interface Layout {
  readonly subjects: number;
  readonly references: number;
  readonly probes: number;
  readonly cameras: readonly string[];
  /** A list says what each photo is, so that folders say nothing. */
  readonly listed: boolean;
}

// As `service/evaluation/labelled.py` names them.
const ROLES: Readonly<Record<string, "references" | "probes">> = {
  references: "references",
  vis: "references",
  probes: "probes",
  nir: "probes",
};

/** The files of a chosen folder, without what file managers hide in it. */
export function filesOf(list: FileList | null): readonly NamedFile[] {
  return [...(list ?? [])]
    .map((file) => ({ path: file.webkitRelativePath || file.name, file }))
    .filter(({ path }) => !path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX"));
}

export function layoutOf(files: readonly NamedFile[]): Layout {
  const subjects = new Set<string>();
  const cameras = new Set<string>();
  const count = { references: 0, probes: 0 };
  for (const { path } of files) {
    const parts = path.split("/");
    // The role's folder is the last but one part, or a camera's folder lies between.
    const at = parts.findLastIndex((part, index) => index < parts.length - 1 && part.toLowerCase() in ROLES);
    const role = ROLES[parts[at]?.toLowerCase() ?? ""];
    if (role === undefined || at < 1) continue;
    count[role] += 1;
    subjects.add(parts[at - 1] ?? "");
    if (role === "probes" && at === parts.length - 3) cameras.add(parts[at + 1] ?? "");
  }
  return {
    ...count,
    subjects: subjects.size,
    cameras: [...cameras].sort(),
    listed: files.some(({ path }) => path === "manifest.csv" || path.endsWith("/manifest.csv")),
  };
}

const BLOCK = 512;
const ENCODER = new TextEncoder();

/** One header of a tar in the format of POSIX.1-2001. */
function header(name: string, size: number, kind: "0" | "x"): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (text: string, at: number): void => block.set(ENCODER.encode(text), at);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  put(name, 0);
  put(octal(0o600, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  put(octal(size, 11), 124);
  put(octal(0, 11), 136);
  put(" ".repeat(8), 148);
  put(kind, 156);
  put("ustar\u000000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${octal(sum, 6)}\u0000 `, 148);
  return block;
}

/** `LENGTH path=NAME`, in which the length counts itself. */
function pathRecord(path: string): Uint8Array<ArrayBuffer> {
  const rest = ENCODER.encode(` path=${path}\n`).length;
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return ENCODER.encode(`${length} path=${path}\n`);
}

function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

/** A tar of the files. The browser reads each one only while it is sent: memory does not grow with them. */
export function archiveOf(files: readonly NamedFile[]): Blob {
  const parts = files.flatMap(({ path, file }, index) => {
    // Names of any length and script stand in a record of their own.
    const record = pathRecord(path);
    return [
      header(`name/${index}`, record.length, "x"),
      record,
      padding(record.length),
      header(`file/${index}`, file.size, "0"),
      file,
      padding(file.size),
    ];
  });
  return new Blob([...parts, new Uint8Array(2 * BLOCK)], { type: "application/x-tar" });
}
