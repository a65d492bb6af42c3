// sekisho demo: plays what the articles build, on this machine, and shows the bytes of each leg.
import { type Command, Option } from 'commander';
import { type Context, examples } from './command.ts';

export function define(command: Command, context: Context): void {
  command
    .addOption(new Option('--lang <language>', 'language of the words around it').choices(['en', 'ja']).default('en'))
    .action(async ({ lang }: { lang: 'en' | 'ja' }) => {
      const { demo } = await import('../daemon/index.ts');
      const { screen, io } = context;
      await demo({ lang, signal: io.signal, line: text => screen.line(text), tone: screen.tone });
    });
  examples(command, ['sekisho demo'], ['npm start -- demo --lang ja', 'in a clone']);
}
