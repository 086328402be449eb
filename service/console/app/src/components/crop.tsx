/** The kept crop of a decision, where the service is set to keep any. */

import { useEffect, useState } from "preact/hooks";

import { service } from "../api/client";
import { t } from "../texts";
import { Picture } from "./pictures";

export function Crop({ eventId, alt }: { eventId: string; alt: string }) {
  const [picture, setPicture] = useState<Blob | "gone" | null>(null);
  useEffect(() => {
    const stopping = new AbortController();
    // Leaving the page ends the request, also between its head and its body.
    service.raw(`events/${encodeURIComponent(eventId)}/crop`, { signal: stopping.signal })
      .then((response) => response.blob())
      .then(setPicture, () => stopping.signal.aborted || setPicture("gone"));
    return () => stopping.abort();
  }, [eventId]);
  if (picture === "gone") return <span class="avatar large" title={t("crop.gone")} aria-label={t("crop.gone")} role="img" />;
  if (picture === null) return <span class="avatar large" aria-hidden="true" />;
  return <Picture blob={picture} small alt={alt} />;
}
