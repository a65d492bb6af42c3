// Takes a backup back. The gate must not be running.
export async function restoreStore(): Promise<void> {}
