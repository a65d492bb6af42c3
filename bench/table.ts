// Turns the cells of a run into the tables of RESULTS.md.

export interface Cell {
  readonly way: string;
  readonly row: string;
  readonly unit: string;
  readonly subject: string;
  /** Work per CPU-second; memory: kB per connection. */
  readonly rate: number;
  /** Work per second of wall time. */
  readonly wall: number;
  /** 99th percentile of one operation, µs. */
  readonly tail: number;
  /** Median over the turns of rate / rate of the first subject in the same turn. */
  readonly ratio: number;
  readonly errors: number;
}

export function renderTable(cells: readonly Cell[], notes: readonly string[]): string {
  const lines = [...notes.map(note => `${note}  `), ''];
  for (const way of new Set(cells.map(cell => cell.way))) {
    const own = cells.filter(cell => cell.way === way);
    const subjects = [...new Set(own.map(cell => cell.subject))];
    lines.push(`**${way}** · work per CPU-second (ratio to ${subjects[0]}) · per second of wall time`, '');
    lines.push(`| | ${subjects.join(' | ')} |`, `|---|${subjects.map(() => '---').join('|')}|`);
    for (const row of new Set(own.map(cell => cell.row))) {
      const line = own.filter(cell => cell.row === row);
      lines.push(
        `| ${row}, ${line[0]?.unit} | ${subjects.map(name => show(line.find(cell => cell.subject === name))).join(' | ')} |`,
      );
    }
    lines.push('');
  }
  return `${lines.join('\n')}\n`;
}

function show(cell: Cell | undefined): string {
  if (!cell) return '–';
  const failed = cell.errors > 0 ? `, ${cell.errors} errors` : '';
  if (cell.unit.startsWith('kB')) return `${cell.rate.toFixed(1)} (${cell.ratio.toFixed(2)})${failed}`;
  return `${round(cell.rate)} (${cell.ratio.toFixed(2)}) · ${round(cell.wall)}${failed}`;
}

const round = (value: number): string => Math.round(value).toLocaleString('en-US');
