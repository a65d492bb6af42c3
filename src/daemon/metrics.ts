// core's Metrics over prom-client: names get the prefix sekisho_, labels a bound, so that no peer can fill the memory.
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Metrics } from '../core/parts.ts';

/** Series of one name; what comes after shares the series whose labels all say `other`. */
const seriesLimit = 1000;
const labelLimit = 120;
/** Seconds; handshakes and connects of a LAN up to lifetimes of minutes. */
const buckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export interface MetricsRegistry extends Metrics {
  /** The text exposition format; `others` are the snapshots of workers, added in. */
  text(others?: readonly unknown[]): Promise<string>;
  readonly contentType: string;
  /** Plain JSON that travels from a worker to the gate process. */
  snapshot(): Promise<unknown>;
}

type Labels = Readonly<Record<string, string>>;
type Series = { readonly names: readonly string[]; readonly known: Set<string> };

export function createMetrics(options: { readonly process?: boolean } = {}): MetricsRegistry {
  const registry = new Registry();
  if (options.process) collectDefaultMetrics({ register: registry, prefix: 'sekisho_' });
  const counters = new Map<string, { metric: Counter; series: Series }>();
  const gauges = new Map<string, { metric: Gauge; series: Series }>();
  const histograms = new Map<string, { metric: Histogram; series: Series }>();

  /** Label names are those of the first use; a later stranger is left out and a missing one is empty. */
  const fit = ({ names, known }: Series, labels: Labels): Record<string, string> => {
    const values = names.map(name => (labels[name] ?? '').slice(0, labelLimit));
    const key = values.join('\u0000');
    const isNew = !known.has(key);
    if (isNew && known.size < seriesLimit) known.add(key);
    const isFull = isNew && !known.has(key);
    return Object.fromEntries(names.map((name, at) => [name, isFull ? 'other' : (values[at] ?? '')]));
  };
  const made = <M>(
    map: Map<string, { metric: M; series: Series }>,
    name: string,
    labels: Labels,
    make: (c: Common) => M,
  ) => {
    let entry = map.get(name);
    if (!entry) {
      const names = Object.keys(labels);
      const common = {
        name: `sekisho_${name}`,
        help: `${name.replaceAll('_', ' ')}.`,
        labelNames: names,
        registers: [registry],
      };
      entry = { metric: make(common), series: { names, known: new Set() } };
      map.set(name, entry);
    }
    return entry;
  };
  return {
    count(name, labels = {}, by = 1) {
      const { metric, series } = made(counters, name, labels, common => new Counter(common));
      metric.inc(fit(series, labels), by);
    },
    gauge(name, labels, by) {
      const { metric, series } = made(gauges, name, labels, common => new Gauge({ ...common, aggregator: 'sum' }));
      metric.inc(fit(series, labels), by);
    },
    observe(name, labels, seconds) {
      const { metric, series } = made(histograms, name, labels, common => new Histogram({ ...common, buckets }));
      metric.observe(fit(series, labels), seconds);
    },
    contentType: registry.contentType,
    snapshot: () => registry.getMetricsAsJSON(),
    async text(others = []) {
      if (others.length === 0) return registry.metrics();
      const all = [await registry.getMetricsAsJSON(), ...others] as Parameters<typeof AggregatorRegistry.aggregate>[0];
      return AggregatorRegistry.aggregate(all).metrics();
    },
  };
}

interface Common {
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
  readonly registers: Registry[];
}
