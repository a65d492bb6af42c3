// What only a terminal needs, loaded when somebody opens one: xterm.js, the size that fits, pastes that ask first.
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import { documentOfSheets, useSheets } from './sheets.ts';
import { type Link, step } from './terminal-link.ts';

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** Draws what the device printed, and tells the gate when it is drawn. */
  print(bytes: Uint8Array): void;
  /** What is typed goes there from now on. */
  attach(link: Link): void;
  /** This size from now on, whatever would fit. */
  setSize(columns: number, rows: number): void;
  readAloud(isOn: boolean): void;
  focus(): void;
  dispose(): void;
}

export interface ScreenOptions {
  readonly place: HTMLElement;
  /** What a screen reader calls the place to type in. */
  readonly label: string;
  /** Whether to paste this; several lines are run as they arrive. */
  readonly mayPaste: (text: string) => boolean | Promise<boolean>;
}

const colours = {
  dark: { background: '#16181c', foreground: '#e7e5e0', cursor: '#ef7b6c', selectionBackground: '#4a5160' },
  light: {
    ...{ background: '#ffffff', foreground: '#1f2328', cursor: '#a93226', selectionBackground: '#d8d2c4' },
    // The sixteen of xterm are made for black; on white the bright ones cannot be read.
    ...{ yellow: '#8a6100', brightYellow: '#8a6100', white: '#5d6470', brightWhite: '#1f2328' },
    ...{ green: '#1c6b3f', brightGreen: '#1c6b3f', cyan: '#0b6a75', brightCyan: '#0b6a75', brightBlack: '#5d6470' },
  },
};

export function openScreen({ place, label, mayPaste }: ScreenOptions): Screen {
  const night = matchMedia('(prefers-color-scheme: dark)');
  Terminal.strings.promptLabel = label;
  const terminal = new Terminal({
    documentOverride: documentOfSheets(),
    fontFamily: 'ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK JP", "MS Gothic", monospace',
    fontSize: 14,
    scrollback: 5000,
    cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
    minimumContrastRatio: 4.5,
    theme: night.matches ? colours.dark : colours.light,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  useSheets();
  terminal.open(place);
  fit.fit();
  const dress = (): void => {
    terminal.options.theme = night.matches ? colours.dark : colours.light;
  };
  night.addEventListener('change', dress);
  const watcher = new ResizeObserver(() => requestAnimationFrame(() => fit.fit()));
  watcher.observe(place);
  let link: Link | undefined;
  let drawn = 0;
  const encoder = new TextEncoder();
  terminal.onData(text => link?.type(encoder.encode(text)));
  terminal.onBinary(text => link?.type(Uint8Array.from(text, letter => letter.charCodeAt(0))));
  terminal.onResize(({ cols: columns, rows }) => link?.say({ kind: 'size', columns, rows }));
  const paste = (event: ClipboardEvent): void => {
    event.preventDefault();
    event.stopPropagation();
    const text = event.clipboardData?.getData('text/plain') ?? '';
    void Promise.resolve(text !== '' && mayPaste(text)).then(isGood => {
      if (isGood) terminal.paste(text);
      terminal.focus();
    });
  };
  place.addEventListener('paste', paste, { capture: true });
  return {
    get columns() {
      return terminal.cols;
    },
    get rows() {
      return terminal.rows;
    },
    print(bytes) {
      terminal.write(bytes, () => {
        drawn += bytes.length;
        if (drawn < step) return;
        link?.say({ kind: 'taken', bytes: drawn });
        drawn = 0;
      });
    },
    attach(next) {
      link = next;
      next.say({ kind: 'size', columns: terminal.cols, rows: terminal.rows });
    },
    setSize(columns, rows) {
      watcher.disconnect();
      terminal.resize(columns, rows);
    },
    readAloud(isOn) {
      terminal.options.screenReaderMode = isOn;
    },
    focus: () => terminal.focus(),
    dispose() {
      watcher.disconnect();
      night.removeEventListener('change', dress);
      place.removeEventListener('paste', paste, { capture: true });
      link?.close();
      terminal.dispose();
    },
  };
}
