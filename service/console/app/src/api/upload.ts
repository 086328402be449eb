/** Sends one large file and tells how far it is: `fetch` tells nothing before the answer. */

import { apiRoot, authorization, Problem, problemOf } from "./client";

export interface Sending {
  readonly type: string;
  /** Called with the share that was sent, 0 to 1. */
  readonly onProgress: (share: number) => void;
  readonly signal: AbortSignal;
}

/** The JSON of the answer. Throws Problem; an `AbortError` if `signal` aborts. */
export function sendFile(path: string, file: Blob, { type, onProgress, signal }: Sending): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL(path, apiRoot()));
    request.setRequestHeader("Content-Type", type);
    const key = authorization();
    if (key !== null) request.setRequestHeader("Authorization", key);
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.onerror = () => reject(new Problem(0, "unreachable", ""));
    request.onload = () => {
      const seconds = request.getResponseHeader("Retry-After");
      const headers = new Headers(seconds === null ? {} : { "Retry-After": seconds });
      const answer = new Response(request.responseText, { status: request.status, headers });
      if (answer.ok) resolve(answer.json());
      else void problemOf(answer).then(reject);
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
