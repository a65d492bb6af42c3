// A countdown to an end: calm while there is time, coloured when it is near.
import { countdown, t, when } from '../text.ts';

const near = 5 * 60_000;

export function Until({ time, now }: { time: string | undefined; now: number }) {
  if (time === undefined) return <span class="quiet">{t('never')}</span>;
  const left = Date.parse(time) - now;
  return (
    <time class={left < near ? 'countdown weak' : 'countdown'} dateTime={time} title={when(time)}>
      {left <= 0 ? t('over') : countdown(time, now)}
    </time>
  );
}
