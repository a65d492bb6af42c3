// Lists are searched by a part of a text.

/** Full-width and half-width letters are one, as are large and small ones: people type what their keyboard gives. */
const folded = (text: string): string => text.normalize('NFKC').toLowerCase();

/** Whether one of the texts of an item has the wanted one in it; without a wanted one, every item is found. */
export function searching<Item>(
  search: string | undefined,
  textsOf: (item: Item) => readonly string[],
): (item: Item) => boolean {
  const wanted = folded(search ?? '');
  if (wanted === '') return () => true;
  return item => textsOf(item).some(text => folded(text).includes(wanted));
}
