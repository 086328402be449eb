/** Enrol photos of a subject, with what is wrong with a photo said before it is sent. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { answered, api, form, Problem, type Schemas } from "../api/client";
import { Badge, Button, Card, Empty, Field, Note, PageHead, Select } from "../components/basics";
import { QualityLine, qualityTone, reasonText } from "../components/faces";
import { ImageInput } from "../components/image_input";
import { type Mark, Picture } from "../components/pictures";
import { ProblemNote, problemTitle } from "../components/problem";
import { Webcam } from "../components/webcam";
import { asFile, toEnrol } from "../handover";
import { announce, asProblem, useAction } from "../hooks";
import { href } from "../route";
import { has, t, type TextKey, tn } from "../texts";

type Detected = Schemas["DetectOut"];
type Enrolled = Schemas["EnrolOut"];
type Spectrum = "vis" | "nir";

const MAX_PHOTOS = 16;
const SUBJECT_ID = /^[A-Za-z0-9._:@-]{1,128}$/;

interface Photo {
  readonly id: number;
  readonly file: File;
  readonly seen: Detected | null;
  readonly problem: Problem | null;
}

async function look(image: Blob, spectrum: Spectrum): Promise<Detected> {
  return answered(
    api.POST("/v1/detect", {
      params: { query: { spectrum } },
      body: form({ image }) as never,
      bodySerializer: (body: unknown) => body as FormData,
    }),
  );
}

/** A key that the service takes twice for one enrolment, where an answer was lost on the way. */
function idempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
}

function marksOf(seen: Detected | null): readonly Mark[] {
  return (seen?.results ?? []).map((face, index) => ({
    face,
    tone: index > 0 ? "info" : face.quality ? (qualityTone(face.quality.score) as Mark["tone"]) : "bad",
  }));
}

/** What stands in the way of enrolling what was seen, as far as a look tells. */
function verdict(seen: Detected): { good: boolean; text: string } {
  const [first, second] = seen.results;
  if (!first) return { good: false, text: t("problem.no_face") };
  if (second && area(second) >= area(first) / 2) return { good: false, text: t("problem.multiple_faces") };
  if (!first.quality) return { good: false, text: t("reason.face_too_small") };
  if (first.quality.reasons.length > 0) return { good: false, text: first.quality.reasons.map(reasonText).join(" ") };
  return { good: true, text: t("enrol.good") };
}

function area(face: Schemas["FaceOut"]): number {
  const [, , width = 0, height = 0] = face.box;
  return width * height;
}

export function EnrolPage() {
  const given = useRef(toEnrol.value);
  const [subjectId, setSubjectId] = useState(given.current?.subjectId ?? "");
  const [name, setName] = useState("");
  const [spectrum, setSpectrum] = useState<Spectrum>(given.current?.spectrum ?? "vis");
  const [photos, setPhotos] = useState<readonly Photo[]>([]);
  const [filming, setFilming] = useState(false);
  const [asked, setAsked] = useState(false);
  const [answer, setAnswer] = useState<Enrolled | null>(null);
  const next = useRef(1);

  const lookAt = (photo: Photo, as: Spectrum): void => {
    const put = (change: Partial<Photo>): void =>
      setPhotos((old) => old.map((each) => (each.id === photo.id ? { ...each, ...change } : each)));
    look(photo.file, as).then(
      (seen) => put({ seen, problem: null }),
      (error: unknown) => put({ seen: null, problem: asProblem(error) }),
    );
  };
  const add = (files: readonly File[]): void => {
    const added = files
      .slice(0, MAX_PHOTOS - photos.length)
      .map((file): Photo => ({ id: next.current++, file, seen: null, problem: null }));
    setPhotos((old) => [...old, ...added]);
    setAnswer(null);
    for (const photo of added) lookAt(photo, spectrum);
  };
  useEffect(() => {
    if (toEnrol.value) add(toEnrol.value.pictures);
    toEnrol.value = null;
  }, []);

  const enrolling = useAction(async (to: string, anyway: boolean) => {
    const enrolled = await answered(
      api.POST("/v1/enroll", {
        params: { header: { "idempotency-key": idempotencyKey() } },
        body: form({
          subject_id: to,
          images: photos.map((photo) => photo.file),
          display_name: name.trim() || null,
          spectrum,
          duplicates: anyway ? "ignore" : "refuse",
        }) as never,
        bodySerializer: (body: unknown) => body as FormData,
      }),
    );
    setAnswer(enrolled);
    const rejected = new Set(enrolled.rejected.map((each) => each.index));
    setPhotos((old) => old.filter((_, index) => rejected.has(index)));
    announce(tn("enrolled", enrolled.samples.length));
  });
  const idProblem = asked && !SUBJECT_ID.test(subjectId) ? t("subject.id.bad") : null;
  const submit = (to: string, anyway = false): void => {
    setAsked(true);
    setAnswer(null);
    if (SUBJECT_ID.test(to) && photos.length > 0) void enrolling.run(to, anyway);
  };

  return (
    <>
      <PageHead title={t("enrol")} lead={t("enrol.lead")} />
      <form
        class="two"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          submit(subjectId);
        }}
      >
        <Card title={t("enrol.who")}>
          <Field label={t("subject.id")} hint={t("subject.id.hint")} problem={idProblem}>
            {(ids) => (
              <input
                {...ids}
                name="subject_id"
                value={subjectId}
                required
                spellcheck={false}
                autocomplete="off"
                onInput={(event) => setSubjectId(event.currentTarget.value.trim())}
              />
            )}
          </Field>
          <Field label={t("display.name")} hint={t("display.name.hint")}>
            {(ids) => (
              <input
                {...ids}
                name="display_name"
                value={name}
                autocomplete="off"
                onInput={(event) => setName(event.currentTarget.value)}
              />
            )}
          </Field>
          <Select<Spectrum>
            label={t("spectrum")}
            hint={t("spectrum.enrol.hint")}
            value={spectrum}
            choices={[
              { value: "vis", text: t("spectrum.vis") },
              { value: "nir", text: t("spectrum.nir") },
            ]}
            onChange={(chosen) => {
              setSpectrum(chosen);
              for (const photo of photos) lookAt(photo, chosen);
            }}
          />
          <Button kind="primary" type="submit" icon="enrol" busy={enrolling.busy} disabled={photos.length === 0}>
            {tn("enrol.photos", photos.length)}
          </Button>
          {asked && photos.length === 0 && !answer && <p class="told bad">{t("enrol.nophoto")}</p>}
          {enrolling.problem && <Refused problem={enrolling.problem} onAgain={submit} subjectId={subjectId} />}
          {answer && <Outcome answer={answer} />}
        </Card>
        <Card title={t("photos")}>
          {filming ? (
            <LiveLook spectrum={spectrum} onStill={(still) => add([asFile(still, "camera.jpg")])} onClose={() => setFilming(false)} />
          ) : (
            <ImageInput label={t("photos")} many onImages={add} onCamera={() => setFilming(true)} />
          )}
          {photos.length === 0 ? (
            <Empty title={t("photos.none")}>
              <p>{t("photos.none.do")}</p>
            </Empty>
          ) : (
            <ul class="photos">
              {photos.map((photo, index) => (
                <PhotoItem
                  key={photo.id}
                  photo={photo}
                  number={index + 1}
                  onRemove={() => setPhotos((old) => old.filter((each) => each.id !== photo.id))}
                />
              ))}
            </ul>
          )}
        </Card>
      </form>
    </>
  );
}

function PhotoItem({ photo, number, onRemove }: { photo: Photo; number: number; onRemove: () => void }) {
  const marks = useMemo(() => marksOf(photo.seen), [photo.seen]);
  const quality = photo.seen?.results[0]?.quality;
  const found = photo.seen && verdict(photo.seen);
  return (
    <li class="photo">
      <Picture blob={photo.file} marks={marks} small alt={t("photo.n", { n: number })} />
      <div>
        <p class="title">{photo.file.name}</p>
        {photo.problem ? (
          <p class="told bad">{problemTitle(photo.problem)}</p>
        ) : !found ? (
          <p class="told">{t("looking")}</p>
        ) : (
          <>
            {quality && <QualityLine quality={quality} />}
            {!quality && <p class="told bad">{found.text}</p>}
            {quality && !quality.reasons.length && <p class={found.good ? "told good" : "told bad"}>{found.text}</p>}
          </>
        )}
      </div>
      <Button kind="quiet" icon="close" aria-label={t("photo.remove", { name: photo.file.name })} onClick={onRemove} />
    </li>
  );
}

/** The camera's picture with what keeps it from being a good photo. */
function LiveLook(props: { spectrum: Spectrum; onStill: (still: Blob) => void; onClose: () => void }) {
  const [seen, setSeen] = useState<Detected | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const marks = useMemo(() => marksOf(seen), [seen]);
  const found = seen && verdict(seen);
  const quality = seen?.results[0]?.quality;
  return (
    <Webcam
      onStill={props.onStill}
      onClose={props.onClose}
      marks={marks}
      onLook={async (picture) => {
        try {
          setSeen(await look(picture, props.spectrum));
          setProblem(null);
        } catch (error) {
          setProblem(asProblem(error));
        }
      }}
    >
      <div class="look" role="status">
        {problem ? (
          <p class="told bad">{problemTitle(problem)}</p>
        ) : (
          <>
            {found && <Badge tone={found.good ? "good" : "warn"}>{found.text}</Badge>}
            {quality && <QualityLine quality={{ ...quality, reasons: [] }} />}
          </>
        )}
      </div>
    </Webcam>
  );
}

/** Why nothing was enrolled. A face that another subject has may be added to that one, or enrolled all the same. */
function Refused(props: { problem: Problem; subjectId: string; onAgain: (to: string, anyway?: boolean) => void }) {
  const { problem } = props;
  const other = problem.more["subject_id"];
  const rejected = problem.more["rejected"];
  return (
    <div class="stack">
      <ProblemNote problem={problem} />
      {Array.isArray(rejected) && <Rejected rejected={rejected as Enrolled["rejected"]} />}
      {problem.code === "duplicate_face" && (
        <div class="row">
          {typeof other === "string" && (
            <>
              <a href={href("subjects", other)}>{t("duplicate.show", { id: other })}</a>
              <Button onClick={() => props.onAgain(other)}>{t("duplicate.add", { id: other })}</Button>
            </>
          )}
          <Button onClick={() => props.onAgain(props.subjectId, true)}>{t("duplicate.anyway")}</Button>
        </div>
      )}
    </div>
  );
}

function Rejected({ rejected }: { rejected: Enrolled["rejected"] }) {
  if (rejected.length === 0) return null;
  return (
    <ul class="reasons">
      {rejected.map((one) => (
        <li key={one.index}>
          <b>{t("photo.n", { n: one.index + 1 })}:</b>{" "}
          {has(`problem.${one.code}`) ? t(`problem.${one.code}` as TextKey) : one.code}{" "}
          <span class="told" lang="en">
            {one.detail}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Outcome({ answer }: { answer: Enrolled }) {
  const added = answer.samples.filter((sample) => !sample.existing).length;
  return (
    <Note tone={answer.rejected.length > 0 ? "warn" : "good"} title={tn("enrolled", added)}>
      {added < answer.samples.length && <p>{tn("enrolled.existing", answer.samples.length - added)}</p>}
      {answer.warnings.map((one) => (
        <p key={one.sample_id + one.code} lang="en">
          {one.detail}
        </p>
      ))}
      <Rejected rejected={answer.rejected} />
      <p>
        <a href={href("subjects", answer.subject_id)}>{t("enrolled.show", { id: answer.subject_id })}</a>
      </p>
    </Note>
  );
}
