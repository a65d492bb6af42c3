// Networks within networks.
import type { Cidr } from '../../wire/cidr.ts';

/** Whether every address of the first lies in the second. */
export function insideOf(one: Cidr, other: Cidr): boolean {
  return (
    one.family === other.family &&
    one.bits >= other.bits &&
    one.network >> BigInt(one.bits - other.bits) === other.network
  );
}
