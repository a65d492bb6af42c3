// Cookies of the gate's own: no service gets them, by neither way, and none may set them.

const own = /^[\s=]*(__Host-|__Secure-)?sekisho/i;
/** By the pair, or the whole field. A cookie without a name is sent as its value alone, which may look like one of ours. */
export const isGateCookie = (pair: string): boolean => own.test(pair);

/** A Cookie field without the gate's own; undefined when nothing is left. */
export function cookieIn(value: string): string | undefined {
  if (!/sekisho/i.test(value)) return value;
  const kept = value.split(';').filter(pair => !isGateCookie(pair));
  return kept.length === 0 ? undefined : kept.join(';').trim();
}
