/** Which camera's figures a page shows: one of them, or those of all. */

import { t } from "../texts";
import { Select } from "./basics";

export function CameraChoice(props: {
  cameras: readonly string[];
  value: string;
  onChange: (camera: string) => void;
}) {
  if (props.cameras.length === 0) return null;
  const named = props.cameras.map((each) => ({ value: each, text: each }));
  return (
    <Select
      label={t("camera.name")}
      value={props.value}
      choices={[{ value: "", text: t("thresholds.all") }, ...named]}
      onChange={props.onChange}
    />
  );
}
