// sekisho completion: the shells' scripts, written from the command tree itself, so that they cannot fall behind it.
import { Argument, type Command } from 'commander';
import { type Context, examples } from './command.ts';
import { plant } from './index.ts';

interface Node {
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly summary: string }[];
  readonly options: readonly { readonly long: string; readonly summary: string; readonly takes?: 'file' | 'value' }[];
}

export function define(command: Command, context: Context): void {
  command.addArgument(new Argument('<shell>', 'which').choices(Object.keys(writers)));
  examples(
    command,
    ['sekisho completion bash > ~/.local/share/bash-completion/completions/sekisho'],
    ['sekisho completion zsh > ~/.zfunc/_sekisho', 'with ~/.zfunc in fpath'],
    ['sekisho completion fish > ~/.config/fish/completions/sekisho.fish'],
  );
  command.action(async (shell: keyof typeof writers) => {
    const { program } = await plant(context.io, () => true);
    await context.screen.write(writers[shell](walk(program)));
  });
}

const writers = { bash: writeBash, zsh: writeZsh, fish: writeFish };

function walk(program: Command): Node[] {
  const shared = program.options;
  const visit = (command: Command, path: string): Node[] => [
    {
      path,
      words: command.commands.map(child => ({ word: child.name(), summary: child.summary() })),
      options: [...command.options, ...(path === '' ? [] : shared)].flatMap(({ long, description, required, flags }) =>
        long ? [{ long, summary: description, ...(required ? { takes: kindOf(flags) } : {}) }] : [],
      ),
    },
    ...command.commands.flatMap(child => visit(child, path === '' ? child.name() : `${path} ${child.name()}`)),
  ];
  return visit(program, '');
}

const kindOf = (flags: string): 'file' | 'value' => (/<(file|dir|export)>/.test(flags) ? 'file' : 'value');

function writeBash(nodes: readonly Node[]): string {
  const rows = nodes.map(({ path, words, options }) => {
    const all = [...words.map(({ word }) => word), ...options.map(({ long }) => long), '--help'];
    return `    '${path}') words='${all.join(' ')}' ;;`;
  });
  const files = namesOf(nodes, 'file');
  const values = namesOf(nodes, 'value');
  return `# bash completion of sekisho
_sekisho() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path='' word words='' skip=''
  case " ${files.join(' ')} " in *" $prev "*) COMPREPLY=($(compgen -f -- "$cur")); return ;; esac
  case " ${values.join(' ')} " in *" $prev "*) COMPREPLY=(); return ;; esac
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [ -n "$skip" ]; then skip=''; continue; fi
    case " ${[...files, ...values].join(' ')} " in *" $word "*) skip=1; continue ;; esac
    case "$word" in -*) ;; *)
      case "\${path:+$path }$word" in
        ${nodes
          .slice(1)
          .map(({ path }) => `'${path}'`)
          .join('|')}) path="\${path:+$path }$word" ;;
      esac ;;
    esac
  done
  case "$path" in
${rows.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [ \${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _sekisho sekisho
`;
}

function writeZsh(nodes: readonly Node[]): string {
  const quote = (text: string): string => text.replaceAll("'", "'\\''").replaceAll(':', '\\:');
  const rows = nodes.map(({ path, words, options }) => {
    const lines = [
      ...words.map(({ word, summary }) => `'${word}:${quote(summary)}'`),
      ...options.map(({ long, summary }) => `'${long}:${quote(summary)}'`),
    ];
    return `    '${path}') words_=(${lines.join(' ')}) ;;`;
  });
  const files = namesOf(nodes, 'file');
  const values = namesOf(nodes, 'value');
  return `#compdef sekisho
# zsh completion of sekisho
_sekisho() {
  local path_='' word skip_=''
  local -a words_
  case "\${words[CURRENT-1]}" in ${files.join('|')}) _files; return ;; ${values.join('|')}) return ;; esac
  for word in "\${(@)words[2,CURRENT-1]}"; do
    if [[ -n $skip_ ]]; then skip_=''; continue; fi
    case "$word" in
      ${[...files, ...values].join('|')}) skip_=1 ;;
      -*) ;;
      *) case "\${path_:+$path_ }$word" in
        ${nodes
          .slice(1)
          .map(({ path }) => `'${path}'`)
          .join('|')}) path_="\${path_:+$path_ }$word" ;;
      esac ;;
    esac
  done
  case "$path_" in
${rows.join('\n')}
  esac
  _describe -t commands sekisho words_ || _files
}
if [ "$funcstack[1]" = _sekisho ]; then _sekisho "$@"; else compdef _sekisho sekisho; fi
`;
}

function writeFish(nodes: readonly Node[]): string {
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = nodes.flatMap(({ path, words, options }) => [
    ...words.map(
      ({ word, summary }) => `complete -c sekisho -f -n "__sekisho_at '${path}'" -a ${word} -d ${quote(summary)}`,
    ),
    ...options.map(
      ({ long, summary, takes }) =>
        `complete -c sekisho -n "__sekisho_at '${path}'" -l ${long.slice(2)} -d ${quote(summary)}${takes === 'file' ? ' -r -F' : takes ? ' -x' : ''}`,
    ),
  ]);
  const valued = [...namesOf(nodes, 'file'), ...namesOf(nodes, 'value')];
  return `# fish completion of sekisho
function __sekisho_at
    set -l path
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
        else if contains -- $word ${valued.join(' ')}
            set skip 1
        else if not string match -q -- '-*' $word
            set -l next (string join ' ' $path $word)
            if contains -- "$next" ${nodes
              .slice(1)
              .map(({ path }) => quote(path))
              .join(' ')}
                set path $path $word
            end
        end
    end
    test "$path" = "$argv[1]"
end
${lines.join('\n')}
`;
}

const namesOf = (nodes: readonly Node[], takes: 'file' | 'value'): string[] => [
  ...new Set(nodes.flatMap(({ options }) => options.filter(option => option.takes === takes).map(({ long }) => long))),
];
