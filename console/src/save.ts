// Hands a file to the person, as a download.
export const save = (name: string, content: string | Uint8Array<ArrayBuffer>, type: string): void =>
  saveBlob(name, new Blob([content], { type }));

export function saveBlob(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
