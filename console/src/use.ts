// What pages share: an answer that is asked for again when something happened, the time of now, the address bar.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type AnswerOf, type Called, call, Refusal } from './api.ts';
import { watch } from './live.ts';

export interface Asked<T> {
  readonly value: T | undefined;
  readonly error: Refusal | undefined;
  readonly again: () => void;
}

/** Bursts of events are one question, at most every second. */
const pause = 1000;

/** Asks once, again on every event that `concerns` it (default: all), and on `again()`. */
export function useAnswer<N extends Called>(
  name: N,
  input?: Parameters<typeof call<N>>[1],
  concerns: (event: string) => boolean = () => true,
): Asked<AnswerOf<N>> {
  const [value, setValue] = useState<AnswerOf<N>>();
  const [error, setError] = useState<Refusal>();
  const key = JSON.stringify(input ?? null);
  const ask = useCallback(() => {
    let isOver = false;
    (call as (name: N, input?: unknown) => Promise<AnswerOf<N>>)(name, JSON.parse(key) ?? undefined).then(
      answer => {
        if (isOver) return;
        setValue(answer);
        setError(undefined);
      },
      reason => {
        if (!isOver) setError(reason instanceof Refusal ? reason : new Refusal('bug', String(reason)));
      },
    );
    return () => {
      isOver = true;
    };
  }, [name, key]);
  const judge = useRef(concerns);
  judge.current = concerns;
  useEffect(() => {
    let drop = ask();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = watch(event => {
      const text = event.kind === 'audit' ? event.row.event : event.kind;
      if (timer !== undefined || !judge.current(text)) return;
      timer = setTimeout(() => {
        timer = undefined;
        drop();
        drop = ask();
      }, pause);
    });
    return () => {
      stop();
      drop();
      clearTimeout(timer);
    };
  }, [ask]);
  return { value, error, again: ask };
}

/** Asks again so often while somebody looks: bytes that move are no event. */
export function useEvery(ms: number, again: () => void): void {
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && again(), ms);
    return () => clearInterval(timer);
  }, [ms, again]);
}

/** Bytes a second of each thing, from one answer to the next; the newest last. */
export function useRates(
  answer: unknown,
  totals: () => Iterable<readonly [string, number]>,
): ReadonlyMap<string, readonly number[]> {
  const kept = useRef({
    answer: undefined as unknown,
    at: 0,
    totals: new Map<string, number>(),
    rates: new Map<string, readonly number[]>(),
  });
  const { at, totals: before, rates } = kept.current;
  if (answer === undefined || answer === kept.current.answer) return rates;
  const now = Date.now();
  const next = new Map(totals());
  const moved = [...next].map(([id, total]) => {
    const rate = Math.max(0, total - (before.get(id) ?? total)) / (Math.max(1, now - at) / 1000);
    return [id, [...(rates.get(id) ?? []), rate].slice(-mostRates)] as const;
  });
  kept.current = { answer, at: now, totals: next, rates: new Map(moved) };
  return kept.current.rates;
}
const mostRates = 40;

/** Ticks, so that countdowns run. */
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** `#/cert/show` → ['cert', 'show']. */
export function usePath(): readonly string[] {
  const read = (): string[] => location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
  const [path, setPath] = useState(read);
  useEffect(() => {
    const change = (): void => setPath(read());
    addEventListener('hashchange', change);
    return () => removeEventListener('hashchange', change);
  }, []);
  return path;
}
