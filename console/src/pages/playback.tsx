// A terminal's recording, played on the page as it was seen.
import { useEffect, useRef, useState } from 'preact/hooks';
import { fetchFile, Refusal } from '../api.ts';
import { type Cast, readCast } from '../cast.ts';
import { Page, Problem } from '../parts.tsx';
import { saveBlob } from '../save.ts';
import type { Screen } from '../terminal.ts';
import { t } from '../text.ts';
import { loadTerminal } from './shell.tsx';

const speeds = [1, 2, 4, 8];
/** Milliseconds, and events. */
const atOnce = 10;
const mostAtOnce = 50;

export function PlaybackPage({ id }: { id: string }) {
  const place = useRef<HTMLDivElement>(null);
  const screen = useRef<Screen | undefined>(undefined);
  const [file, setFile] = useState<Blob>();
  const [cast, setCast] = useState<Cast>();
  const [error, setError] = useState<Refusal>();
  const [at, setAt] = useState(0);
  const [isPlaying, setPlaying] = useState(true);
  const [speed, setSpeed] = useState(1);
  useEffect(() => {
    fetchFile(`/v1/audit/recordings/${encodeURIComponent(id)}`)
      .then(async blob => {
        const read = readCast(await blob.text());
        if (!read) throw new Refusal('protocol', t('noRecording'));
        setFile(blob);
        setCast(read);
      })
      .catch(reason => setError(reason instanceof Refusal ? reason : new Refusal('bug', String(reason))));
  }, [id]);
  // A screen of its own for each run from the beginning.
  const [run, setRun] = useState(0);
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    if (!cast) return;
    let isOver = false;
    void loadTerminal().then(({ openScreen }) => {
      if (isOver || !place.current) return;
      screen.current = openScreen({ place: place.current, label: cast.title, mayPaste: () => false });
      screen.current.setSize(cast.columns, cast.rows);
      setAt(0);
      setReady(true);
    });
    return () => {
      isOver = true;
      setReady(false);
      screen.current?.dispose();
      screen.current = undefined;
    };
  }, [cast, run]);
  const event = cast?.events[at];
  useEffect(() => {
    if (!cast || !event || !isPlaying || !isReady) return;
    const timer = setTimeout(() => {
      // What came at once is shown at once: a browser waits some milliseconds for each timer.
      let next = at;
      do {
        const { print, size } = cast.events[next] ?? {};
        if (print) screen.current?.print(print);
        if (size) screen.current?.setSize(size.columns, size.rows);
        next += 1;
      } while (next < at + mostAtOnce && (cast.events[next]?.after ?? Number.POSITIVE_INFINITY) / speed < atOnce);
      setAt(next);
    }, event.after / speed);
    return () => clearTimeout(timer);
  }, [cast, at, isPlaying, isReady, speed]);
  return (
    <Page title={cast?.title ?? id} back={{ href: '#/audit', label: t('audit') }}>
      {error && <Problem error={error} />}
      <div class="tools left">
        <button type="button" class="main" disabled={!event} onClick={() => setPlaying(!isPlaying)}>
          {t(isPlaying ? 'pause' : 'goOn')}
        </button>
        <button
          type="button"
          disabled={!cast}
          onClick={() => {
            setPlaying(true);
            setRun(run + 1);
          }}
        >
          {t('playAgain')}
        </button>
        <label>
          {t('speed')}{' '}
          <select value={speed} onChange={({ currentTarget }) => setSpeed(Number(currentTarget.value))}>
            {speeds.map(one => (
              <option value={one}>{one}×</option>
            ))}
          </select>
        </label>
        <button type="button" disabled={!file} onClick={() => file && saveBlob(`${id}.cast`, file)}>
          {t('download')}
        </button>
        {cast && (
          <span class="quiet">
            {at} / {cast.events.length}
          </span>
        )}
      </div>
      <div class="screen played" ref={place} />
    </Page>
  );
}
