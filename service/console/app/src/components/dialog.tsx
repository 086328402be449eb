/** A modal dialog: the browser's own, which keeps the focus inside and gives it back. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

import { t } from "../texts";
import { Button } from "./basics";

export function Dialog(props: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  actions?: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
    >
      <div class="card-head">
        <h2 id={id}>{props.title}</h2>
        <Button kind="quiet" icon="close" aria-label={t("close")} onClick={props.onClose} />
      </div>
      {props.children}
      {props.actions && <div class="dialog-actions">{props.actions}</div>}
    </dialog>
  );
}
