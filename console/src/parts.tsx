// Small parts that every page is made of.
import type { ComponentChildren, InputHTMLAttributes, JSX, TargetedSubmitEvent } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Refusal } from './api.ts';
import { t } from './text.ts';
import type { Asked } from './use.ts';

export function Page({
  title,
  back,
  tools,
  children,
}: {
  title: string;
  /** The page that this one is of. */
  back?: { readonly href: string; readonly label: string };
  tools?: ComponentChildren;
  children: ComponentChildren;
}) {
  useEffect(() => {
    document.title = `${title} · Sekisho`;
  }, [title]);
  return (
    <section aria-labelledby="title">
      <header class="page">
        <div>
          {back && (
            <a class="back" href={back.href}>
              {back.label}
            </a>
          )}
          <h1 id="title">{title}</h1>
        </div>
        <div class="tools">{tools}</div>
      </header>
      {children}
    </section>
  );
}

export interface Column<T> {
  readonly title: string;
  readonly show: (item: T) => ComponentChildren;
  readonly kind?: 'number' | 'tools' | 'code';
}

/** A table with its sentence for when there is nothing in it. */
export function Table<T>({
  columns,
  rows,
  idOf,
  empty,
  label,
}: {
  columns: readonly Column<T>[];
  rows: readonly T[] | undefined;
  idOf: (row: T) => string;
  empty: string;
  label: string;
}) {
  if (!rows) return <p class="quiet">{t('loading')}</p>;
  if (rows.length === 0) return <p class="quiet">{empty}</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls sideways must be reachable by keyboard (WCAG 2.1.1)
    <section class="scroll" tabIndex={0} aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map(({ title, kind }) => (
              <th scope="col" class={kind}>
                {title || <span class="unseen">{t('details')}</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <tr key={idOf(row)}>
              {columns.map(({ title, show, kind }) => (
                <td class={kind} data-title={title}>
                  {show(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** What a question to the gate gave, or why it gave nothing. */
export function Answer<T>({ asked, children }: { asked: Asked<T>; children: (value: T) => JSX.Element }) {
  if (asked.error && !asked.value) return <Problem error={asked.error} />;
  return asked.value ? children(asked.value) : <p class="quiet">{t('loading')}</p>;
}

export function Problem({ error }: { error: Refusal }) {
  return (
    <p class="problem" role="alert">
      {error.code === 'denied' ? t('denied') : error.message}
    </p>
  );
}

export const Tag = ({ tone, children }: { tone: 'good' | 'bad' | 'weak' | 'plain'; children: ComponentChildren }) => (
  <span class={`tag ${tone}`}>{children}</span>
);

/** A button that acts at the gate: it waits, says what went wrong, and asks first where `sure` says so. */
export function Act({
  label,
  sure,
  run,
  danger,
}: {
  label: string;
  sure?: string;
  run: () => Promise<unknown>;
  danger?: boolean;
}) {
  const [state, setState] = useState<'idle' | 'asking' | 'busy'>('idle');
  const [error, setError] = useState<Refusal>();
  const act = async (): Promise<void> => {
    setState('busy');
    setError(undefined);
    await run().catch(reason => setError(reason instanceof Refusal ? reason : new Refusal('bug', String(reason))));
    setState('idle');
  };
  return (
    <>
      <button
        type="button"
        class={danger ? 'danger' : ''}
        disabled={state === 'busy'}
        onClick={() => (sure ? setState('asking') : void act())}
      >
        {label}
      </button>
      {state === 'asking' && (
        <Dialog title={sure ?? ''} close={() => setState('idle')}>
          <div class="tools">
            <button type="button" onClick={() => setState('idle')}>
              {t('cancel')}
            </button>
            <button type="button" class="danger" onClick={() => void act()}>
              {label}
            </button>
          </div>
        </Dialog>
      )}
      {error && <Problem error={error} />}
    </>
  );
}

export function Dialog({
  title,
  close,
  wide,
  children,
}: {
  title: string;
  close: () => void;
  wide?: boolean;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog ref={element} class={wide ? 'wide' : ''} aria-label={title} onClose={close}>
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}

/** A form that posts to the gate: fields by name, the refusal beside the button. */
export function Form({
  label,
  submit,
  cancel,
  children,
}: {
  label: string;
  /** In a dialog: what closes it. */
  cancel?: () => void;
  submit: (fields: Readonly<Record<string, string>>) => Promise<unknown>;
  children: ComponentChildren;
}) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<Refusal>();
  const send = async (event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const fields = Object.fromEntries(
      [...new FormData(event.currentTarget)].map(([key, value]) => [key, String(value)]),
    );
    setBusy(true);
    setError(undefined);
    await submit(fields).catch(reason =>
      setError(reason instanceof Refusal ? reason : new Refusal('bug', String(reason))),
    );
    setBusy(false);
  };
  return (
    <form onSubmit={event => void send(event)}>
      {children}
      {error && <Problem error={error} />}
      <div class="tools">
        {cancel && (
          <button type="button" onClick={cancel}>
            {t('cancel')}
          </button>
        )}
        <button type="submit" class="main" disabled={isBusy}>
          {label}
        </button>
      </div>
    </form>
  );
}

export function Field({
  label,
  name,
  ...rest
}: { label: string; name: string } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <label class="field">
      <span>{label}</span>
      <input name={name} autocomplete="off" {...rest} />
    </label>
  );
}

/** Names and what they are; what there is nothing of is left out. */
export function Pairs({ of }: { of: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="pairs card">
      {of
        .filter(([, value]) => value !== undefined && value !== '' && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A page of a long list at a time: the gate may know thousands. */
/** A list that the gate searches and turns: what to ask for, and what to show. A new search begins at the first page. */
export function usePage(limit = 100) {
  const [page, turn] = useState(0);
  const [search, setSearch] = useState('');
  return {
    query: { ...(search === '' ? {} : { search }), offset: page * limit, limit },
    pager: { page, turn, limit },
    isSearched: search !== '',
    find(text: string): void {
      turn(0);
      setSearch(text);
    },
  };
}

export function Pager({
  page,
  turn,
  limit,
  total,
}: {
  page: number;
  turn: (to: number) => void;
  limit: number;
  total: number;
}) {
  if (total <= limit && page === 0) return null;
  const last = Math.max(0, Math.ceil(total / limit) - 1);
  return (
    <nav class="pager" aria-label={t('pages')}>
      <button type="button" disabled={page === 0} onClick={() => turn(page - 1)}>
        {t('pageBefore')}
      </button>
      <span>
        {page * limit + 1}–{Math.min(total, (page + 1) * limit)} / {total}
      </span>
      <button type="button" disabled={page >= last} onClick={() => turn(page + 1)}>
        {t('pageNext')}
      </button>
    </nav>
  );
}

/** Searches as one types, a moment after the last letter. */
export function Search({
  label,
  search,
  children,
}: {
  label: string;
  search: (text: string) => void;
  children?: ComponentChildren;
}) {
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  return (
    <search class="search">
      <input
        type="search"
        aria-label={label}
        placeholder={label}
        onInput={({ currentTarget: { value } }) => {
          clearTimeout(timer.current);
          timer.current = setTimeout(() => search(value.trim()), 250);
        }}
      />
      {children}
    </search>
  );
}

export function Copy({ text }: { text: string }) {
  const [isDone, setDone] = useState(false);
  return (
    <div class="copy">
      <code>{text}</code>
      <button
        type="button"
        aria-label={`${t('copy')}: ${text.slice(0, 80)}`}
        onClick={() => void navigator.clipboard.writeText(text).then(() => setDone(true))}
      >
        <span aria-live="polite">{isDone ? t('copied') : t('copy')}</span>
      </button>
    </div>
  );
}

/** The last values as a line; the newest stands right. */
export function Spark({ values, label }: { values: readonly number[]; label: string }) {
  const top = Math.max(1, ...values);
  const points = values
    .map((value, at) => `${(at / Math.max(1, values.length - 1)) * 120},${28 - (value / top) * 26}`)
    .join(' ');
  return (
    <svg class="spark" viewBox="0 0 120 30" role="img" aria-label={label} preserveAspectRatio="none">
      <polyline points={points} />
    </svg>
  );
}
