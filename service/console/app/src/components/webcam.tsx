/** A camera of this computer: shows it, and gives still pictures of it. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useInterval } from "../hooks";
import { t } from "../texts";
import { Button, Note, Select } from "./basics";
import { type Mark, Overlay } from "./pictures";

const JPEG_QUALITY = 0.92;

async function still(video: HTMLVideoElement): Promise<Blob | null> {
  if (video.videoWidth === 0) return null;
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

function why(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (!isSecureContext) return t("camera.insecure");
  if (name === "NotAllowedError") return t("camera.denied");
  if (name === "NotFoundError" || name === "OverconstrainedError") return t("camera.none");
  return t("camera.busy");
}

export function Webcam(props: {
  onStill: (picture: Blob) => void;
  onClose: () => void;
  /** Looked at about every `lookEveryMs`, one picture after the other. */
  onLook?: (picture: Blob) => Promise<void>;
  lookEveryMs?: number;
  marks?: readonly Mark[];
  children?: ComponentChildren;
}) {
  const video = useRef<HTMLVideoElement>(null);
  const looking = useRef(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [devices, setDevices] = useState<readonly MediaDeviceInfo[]>([]);
  const [device, setDevice] = useState("");
  const [size, setSize] = useState({ width: 640, height: 480 });

  useEffect(() => {
    let gone = false;
    let stream: MediaStream | null = null;
    const stop = (): void => stream?.getTracks().forEach((track) => track.stop());
    const start = async (): Promise<void> => {
      const ideal = { width: { ideal: 1280 }, height: { ideal: 720 } };
      // Without a secure context browsers have no mediaDevices at all.
      if (!("mediaDevices" in navigator)) throw new DOMException("", "NotAllowedError");
      stream = await navigator.mediaDevices.getUserMedia({
        video: device ? { deviceId: { exact: device }, ...ideal } : ideal,
      });
      if (gone || !video.current) {
        stop();
        return;
      }
      video.current.srcObject = stream;
      await video.current.play();
      const found = await navigator.mediaDevices.enumerateDevices();
      setDevices(found.filter((each) => each.kind === "videoinput"));
      setProblem(null);
    };
    start().catch((error: unknown) => gone || setProblem(why(error)));
    return () => {
      gone = true;
      stop();
    };
  }, [device]);

  useInterval(
    () => {
      const now = video.current;
      if (looking.current || !now || !props.onLook) return;
      looking.current = true;
      void still(now)
        .then((picture) => (picture ? props.onLook?.(picture) : undefined))
        .finally(() => {
          looking.current = false;
        });
    },
    props.lookEveryMs ?? 800,
    props.onLook !== undefined && problem === null,
  );

  if (problem !== null) {
    return (
      <Note tone="warn" title={problem}>
        <p>
          <Button onClick={props.onClose}>{t("close")}</Button>
        </p>
      </Note>
    );
  }
  return (
    <div class="webcam">
      <div class="stage">
        <video
          ref={video}
          muted
          playsInline
          aria-label={t("camera.picture")}
          onLoadedMetadata={(event) =>
            setSize({ width: event.currentTarget.videoWidth, height: event.currentTarget.videoHeight })
          }
        />
        {props.marks && <Overlay marks={props.marks} size={size} />}
      </div>
      {props.children}
      {devices.length > 1 && (
        <Select
          label={t("camera.choose")}
          value={device}
          choices={[
            { value: "", text: t("camera.first") },
            ...devices.map((each, index) => ({ value: each.deviceId, text: each.label || `${index + 1}` })),
          ]}
          onChange={setDevice}
        />
      )}
      <div class="row">
        <Button
          kind="primary"
          icon="camera"
          onClick={() => {
            if (video.current) void still(video.current).then((picture) => picture && props.onStill(picture));
          }}
        >
          {t("camera.take")}
        </Button>
        <Button onClick={props.onClose}>{t("camera.stop")}</Button>
      </div>
    </div>
  );
}
