/** Identify a probe, or verify it against a subject or a second picture. */

import { useMemo, useState } from "preact/hooks";

import { answered, api, form, type Schemas } from "../api/client";
import { Button, Card, Empty, Field, Loading, Note, PageHead, Segments, Select } from "../components/basics";
import { Conditions, Decision, QualityLine } from "../components/faces";
import { ImageInput } from "../components/image_input";
import { type Mark, Picture } from "../components/pictures";
import { ProblemNote } from "../components/problem";
import { ScoreScale } from "../components/score";
import { Webcam } from "../components/webcam";
import { initials, number, percent, rate, score } from "../format";
import { asFile, toEnrol } from "../handover";
import { announce, useAction } from "../hooks";
import { go, href } from "../route";
import { allows } from "../session";
import { t } from "../texts";

type Identified = Schemas["IdentifyOut"];
type Result = Identified["results"][number];
type Verified = Schemas["VerifyOut"];
type Spectrum = "auto" | "nir" | "vis";

const FMRS = ["", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"] as const;
type Fmr = (typeof FMRS)[number];

export function IdentifyPage() {
  const [mode, setMode] = useState<"identify" | "verify">("identify");
  return (
    <>
      <PageHead title={t("identify")} lead={t("identify.lead")}>
        <Segments
          label={t("identify.mode")}
          value={mode}
          choices={[
            { value: "identify", text: t("identify.who") },
            { value: "verify", text: t("identify.is") },
          ]}
          onChange={setMode}
        />
      </PageHead>
      {mode === "identify" ? <Identify /> : <Verify />}
    </>
  );
}

interface Options {
  spectrum: Spectrum;
  fmr: Fmr;
  every: boolean;
}

function OptionFields(props: { options: Options; onChange: (options: Options) => void; faces: boolean }) {
  const { options, onChange } = props;
  return (
    <div class="row fields">
      <Select<Spectrum>
        label={t("spectrum")}
        value={options.spectrum}
        choices={[
          { value: "auto", text: t("spectrum.auto") },
          { value: "nir", text: t("spectrum.nir") },
          { value: "vis", text: t("spectrum.vis") },
        ]}
        onChange={(spectrum) => onChange({ ...options, spectrum })}
      />
      <Select<Fmr>
        label={t("fmr")}
        value={options.fmr}
        choices={FMRS.map((fmr) => ({ value: fmr, text: fmr || t("fmr.default") }))}
        onChange={(fmr) => onChange({ ...options, fmr })}
      />
      {props.faces && (
        <label class="check">
          <input
            type="checkbox"
            checked={options.every}
            onChange={(event) => onChange({ ...options, every: event.currentTarget.checked })}
          />
          {t("faces.all")}
        </label>
      )}
    </div>
  );
}

function queryOf(options: Options): { spectrum: Spectrum; fmr?: number } {
  return options.fmr ? { spectrum: options.spectrum, fmr: Number(options.fmr) } : { spectrum: options.spectrum };
}

function Identify() {
  const [options, setOptions] = useState<Options>({ spectrum: "auto", fmr: "", every: false });
  const [picture, setPicture] = useState<File | null>(null);
  const [answer, setAnswer] = useState<Identified | null>(null);
  const [filming, setFilming] = useState(false);
  const asking = useAction(async (image: File, asked: Options) => {
    setPicture(image);
    setAnswer(null);
    const found = await answered(
      api.POST("/v1/identify", {
        params: { query: { ...queryOf(asked), faces: asked.every ? "all" : "largest" } },
        body: form({ image }) as never,
        bodySerializer: (body: unknown) => body as FormData,
      }),
    );
    setAnswer(found);
    announce(found.results.map(told).join(" "));
  });
  const marks = useMemo(() => (answer?.results ?? []).map(markOf), [answer]);
  return (
    <div class="two">
      <Card title={t("probe")}>
        <OptionFields
          options={options}
          faces
          onChange={(chosen) => {
            setOptions(chosen);
            if (picture) void asking.run(picture, chosen);
          }}
        />
        {filming ? (
          <Webcam
            onStill={(still) => void asking.run(asFile(still, "camera.jpg"), options)}
            onClose={() => setFilming(false)}
          />
        ) : (
          <ImageInput
            label={t("probe")}
            onImages={([image]) => image && void asking.run(image, options)}
            onCamera={() => setFilming(true)}
          >
            {picture && <Picture blob={picture} marks={marks} alt={t("picture.probe", { n: marks.length })} />}
          </ImageInput>
        )}
        {filming && picture && (
          <Picture blob={picture} marks={marks} alt={t("picture.probe", { n: marks.length })} />
        )}
      </Card>
      <div class="stack">
        {asking.busy && <Loading />}
        {asking.problem && (
          <ProblemNote
            problem={asking.problem}
            {...(picture ? { onRetry: () => void asking.run(picture, options) } : {})}
          />
        )}
        {!answer && !asking.busy && !asking.problem && (
          <Empty title={t("identify.none")}>
            <p>{t("identify.none.do")}</p>
          </Empty>
        )}
        {answer?.results.map((result, index) => (
          <ResultCard key={index} number={index + 1} result={result} many={answer.results.length > 1} picture={picture} />
        ))}
        {answer && <Timing timing={answer.timing_ms} />}
      </div>
    </div>
  );
}

function markOf(result: Result, index: number): Mark {
  const tone = result.decision === "match" ? "good" : "warn";
  return { face: result.face, tone, label: String(index + 1) };
}

function told(result: Result): string {
  const [best] = result.candidates;
  if (result.decision === "match" && best) return t("told.match", { name: best.display_name ?? best.subject_id });
  return t("told.unknown");
}

function ResultCard(props: { result: Result; number: number; many: boolean; picture: File | null }) {
  const { result, picture } = props;
  const enrolAs = (subjectId: string | null): void => {
    if (!picture) return;
    toEnrol.value = { pictures: [picture], subjectId, spectrum: result.condition.spectrum };
    go("enrol");
  };
  return (
    <Card title={props.many ? t("face.n", { n: props.number }) : t("answer")} actions={<Decision decision={result.decision} />}>
      <div class="row tight">
        <Conditions spectrum={result.condition.spectrum} maskState={result.condition.mask_state} />
      </div>
      <QualityLine quality={result.quality} />
      <p class="told">{t(`liveness.${result.liveness ?? "none"}`)}</p>
      {result.decision === "uncalibrated" && (
        <Note tone="warn" title={t("uncalibrated.title")}>
          <p>{t("uncalibrated.do", { pair: result.calibration.pair })}</p>
        </Note>
      )}
      {result.candidates.length === 0 ? (
        <p class="told">{t("candidates.none")}</p>
      ) : (
        <ol class="candidates">
          {result.candidates.map((one) => (
            <li key={one.subject_id} class={one.decision === "match" ? "good" : ""}>
              <span class="avatar" aria-hidden="true">
                {initials(one.display_name ?? one.subject_id)}
              </span>
              <span class="who">
                {allows("operator") ? (
                  <a href={href("subjects", one.subject_id)}>{one.display_name ?? one.subject_id}</a>
                ) : (
                  (one.display_name ?? one.subject_id)
                )}
                <span class="told mono">{one.subject_id}</span>
              </span>
              <ScoreScale score={one.score} threshold={one.threshold} fmr={result.target_fmr} />
              {allows("operator") && picture && (
                <Button
                  kind="quiet"
                  icon="enrol"
                  title={t("enrol.as.this")}
                  aria-label={`${t("enrol.as.this")}: ${one.subject_id}`}
                  onClick={() => enrolAs(one.subject_id)}
                />
              )}
            </li>
          ))}
        </ol>
      )}
      {allows("operator") && picture && (
        <p class="row">
          <Button icon="enrol" onClick={() => enrolAs(null)}>
            {t("enrol.as")}
          </Button>
        </p>
      )}
      <details>
        <summary>{t("why")}</summary>
        <dl class="facts">
          <dt>{t("pair")}</dt>
          <dd class="mono">{result.calibration.pair}</dd>
          <dt>{t("threshold")}</dt>
          <dd>
            {score(result.threshold)} {t("at.fmr", { fmr: rate(result.target_fmr) })}
          </dd>
          <dt>{t("fmr.upper")}</dt>
          <dd>{rate(result.calibration.fmr_upper)}</dd>
          <dt>{t("calibration")}</dt>
          <dd class="mono">{result.calibration.id.slice(0, 16)}</dd>
          <dt>{t("comparisons")}</dt>
          <dd>
            {number(result.search.comparisons)}
            {result.search.fpir !== null && ` (${t("fpir", { p: percent(result.search.fpir, 2) })})`}
          </dd>
          <dt>{t("mask.probability")}</dt>
          <dd>{percent(result.condition.mask_probability, 0)}</dd>
          <dt>{t("detection")}</dt>
          <dd>{percent(result.face.detection_score, 0)}</dd>
        </dl>
      </details>
    </Card>
  );
}

function Timing({ timing }: { timing: Readonly<Record<string, number>> }) {
  return (
    <p class="told timing">
      {Object.entries(timing)
        .map(([stage, ms]) => `${stage} ${number(ms)} ms`)
        .join(" · ")}
    </p>
  );
}

function Verify() {
  const [options, setOptions] = useState<Options>({ spectrum: "auto", fmr: "", every: false });
  const [probe, setProbe] = useState<File | null>(null);
  const [reference, setReference] = useState<File | null>(null);
  const [subjectId, setSubjectId] = useState("");
  const [against, setAgainst] = useState<"subject" | "picture">("subject");
  const [answer, setAnswer] = useState<Verified | null>(null);
  const asking = useAction(async () => {
    if (!probe) return;
    setAnswer(null);
    const fields = against === "subject" ? { subject_id: subjectId.trim() } : { reference };
    const found = await answered(
      api.POST("/v1/verify", {
        params: { query: queryOf(options) },
        body: form({ image: probe, ...fields }) as never,
        bodySerializer: (body: unknown) => body as FormData,
      }),
    );
    setAnswer(found);
    announce(t(found.decision === "match" ? "verify.yes" : "verify.no"));
  });
  const probeMarks = useMemo((): readonly Mark[] => (answer ? [{ face: answer.probe.face, tone: "info" }] : []), [answer]);
  const referenceMarks = useMemo(
    (): readonly Mark[] => (answer?.reference.face ? [{ face: answer.reference.face, tone: "info" }] : []),
    [answer],
  );
  const ready = probe !== null && (against === "subject" ? subjectId.trim() !== "" : reference !== null);
  return (
    <div class="two">
      <Card title={t("probe")}>
        <OptionFields options={options} faces={false} onChange={setOptions} />
        <ImageInput
          label={t("probe")}
          onImages={([image]) => {
            setProbe(image ?? null);
            setAnswer(null);
          }}
        >
          {probe && <Picture blob={probe} marks={probeMarks} alt={t("picture.probe", { n: probeMarks.length })} />}
        </ImageInput>
      </Card>
      <div class="stack">
        <Card title={t("verify.against")}>
          <Segments
            label={t("verify.against")}
            value={against}
            choices={[
              { value: "subject", text: t("verify.subject") },
              { value: "picture", text: t("verify.picture") },
            ]}
            onChange={setAgainst}
          />
          {against === "subject" ? (
            <Field label={t("subject.id")}>
              {(ids) => (
                <input
                  {...ids}
                  value={subjectId}
                  spellcheck={false}
                  onInput={(event) => setSubjectId(event.currentTarget.value)}
                />
              )}
            </Field>
          ) : (
            <ImageInput label={t("reference")} pastes={false} onImages={([image]) => setReference(image ?? null)}>
              {reference && <Picture blob={reference} marks={referenceMarks} alt={t("picture.reference")} />}
            </ImageInput>
          )}
          <Button kind="primary" disabled={!ready} busy={asking.busy} onClick={() => void asking.run()}>
            {t("verify.ask")}
          </Button>
        </Card>
        {asking.problem && <ProblemNote problem={asking.problem} />}
        {answer && (
          <Card title={t("answer")} actions={<Decision decision={answer.decision} />}>
            <ScoreScale score={answer.score} threshold={answer.threshold} fmr={answer.target_fmr} />
            <div class="row tight">
              <Conditions spectrum={answer.probe.condition.spectrum} maskState={answer.probe.condition.mask_state} />
            </div>
            <QualityLine quality={answer.probe.quality} />
            <p class="told">{t(`liveness.${answer.liveness ?? "none"}`)}</p>
            <p class="told">
              {t("threshold")} {score(answer.threshold)} {t("at.fmr", { fmr: rate(answer.target_fmr) })}
            </p>
          </Card>
        )}
      </div>
    </div>
  );
}
