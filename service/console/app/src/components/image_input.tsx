/** Takes pictures: dropped, pasted, chosen as files, or taken with a camera. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { t } from "../texts";
import { Button } from "./basics";

// Browsers know no type for some of these; the service looks at the bytes.
const ACCEPTED = "image/*,.tif,.tiff,.heic,.heif,.avif,.bmp";

export function ImageInput(props: {
  label: string;
  many?: boolean;
  onImages: (images: readonly File[]) => void;
  onCamera?: () => void;
  /** Whether pictures that are pasted anywhere on the page come here. */
  pastes?: boolean;
  children?: ComponentChildren;
}) {
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const take = (list: Iterable<File> | null | undefined): void => {
    const files = [...(list ?? [])];
    if (files.length > 0) props.onImages(props.many ? files : files.slice(0, 1));
  };
  const current = useRef(take);
  current.current = take;
  useEffect(() => {
    if (props.pastes === false) return undefined;
    const onPaste = (event: ClipboardEvent): void => {
      const files = event.clipboardData?.files;
      if (files && files.length > 0) {
        event.preventDefault();
        current.current(files);
      }
    };
    addEventListener("paste", onPaste);
    return () => removeEventListener("paste", onPaste);
  }, [props.pastes]);
  return (
    <div
      class={over ? "drop over" : "drop"}
      role="group"
      aria-label={props.label}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer?.files);
      }}
    >
      {props.children}
      <p class="told">{props.many ? t("drop.many") : t("drop.one")}</p>
      <div class="row">
        <Button icon="upload" onClick={() => input.current?.click()}>
          {props.many ? t("drop.choose.many") : t("drop.choose")}
        </Button>
        {props.onCamera && (
          <Button icon="camera" onClick={props.onCamera}>
            {t("drop.camera")}
          </Button>
        )}
      </div>
      <input
        ref={input}
        class="unseen"
        type="file"
        tabIndex={-1}
        accept={ACCEPTED}
        multiple={props.many === true}
        aria-label={props.label}
        onChange={(event) => {
          take(event.currentTarget.files);
          event.currentTarget.value = "";
        }}
      />
    </div>
  );
}
