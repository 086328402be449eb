/** Pictures on a canvas: drawn from bytes that stay in this tab, so no address ever names them. */

import { useEffect, useRef, useState } from "preact/hooks";

import type { Schemas } from "../api/client";
import { t } from "../texts";

export type Face = Schemas["FaceOut"];

export interface Mark {
  readonly face: Face;
  readonly tone: "good" | "warn" | "bad" | "info";
  readonly label?: string;
}

const COLOURS: Readonly<Record<Mark["tone"], string>> = {
  good: "#37c07f",
  warn: "#f0b040",
  bad: "#f06a6a",
  info: "#8fa2ff",
};

function draw(canvas: HTMLCanvasElement, picture: ImageBitmap | null, marks: readonly Mark[], size: Size): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  canvas.width = size.width;
  canvas.height = size.height;
  if (picture) context.drawImage(picture, 0, 0, size.width, size.height);
  const line = Math.max(2, Math.max(size.width, size.height) / 220);
  for (const { face, tone, label } of marks) {
    const [x = 0, y = 0, w = 0, h = 0] = face.box;
    context.strokeStyle = context.fillStyle = COLOURS[tone];
    context.lineWidth = line;
    context.strokeRect(x, y, w, h);
    for (const [px = 0, py = 0] of face.landmarks) {
      context.beginPath();
      context.arc(px, py, line * 1.1, 0, 2 * Math.PI);
      context.fill();
    }
    if (label) {
      context.font = `600 ${line * 9}px system-ui, sans-serif`;
      const wide = context.measureText(label).width + line * 6;
      context.fillRect(x - line / 2, Math.max(0, y - line * 13), wide, line * 13);
      context.fillStyle = "#10131f";
      context.fillText(label, x + line * 2, Math.max(line * 10, y - line * 3.4));
    }
  }
}

interface Size {
  width: number;
  height: number;
}

/** The picture of `blob` as its EXIF turns it, with faces marked; a note where this browser cannot show it. */
export function Picture(props: { blob: Blob; marks?: readonly Mark[]; alt: string; small?: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [picture, setPicture] = useState<ImageBitmap | "none" | null>(null);
  useEffect(() => {
    let gone = false;
    setPicture(null);
    createImageBitmap(props.blob, { imageOrientation: "from-image" }).then(
      (bitmap) => (gone ? bitmap.close() : setPicture(bitmap)),
      () => gone || setPicture("none"),
    );
    return () => {
      gone = true;
    };
  }, [props.blob]);
  useEffect(() => {
    if (canvas.current && picture !== null && picture !== "none") draw(canvas.current, picture, props.marks ?? [], picture);
  }, [picture, props.marks]);
  if (picture === "none") return <p class={props.small ? "no-picture small" : "no-picture"}>{t("picture.unshowable")}</p>;
  return <canvas ref={canvas} class={props.small ? "picture small" : "picture"} role="img" aria-label={props.alt} />;
}

/** Marks over something that moves, such as the picture of a camera. */
export function Overlay({ marks, size }: { marks: readonly Mark[]; size: Size }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (canvas.current) draw(canvas.current, null, marks, size);
  }, [marks, size.width, size.height]);
  return <canvas ref={canvas} class="overlay" aria-hidden="true" />;
}
