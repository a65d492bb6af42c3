// What the API is handed. Rooms are known here by what the API asks of them; daemon/ introduces them.
import type { Clock } from '../core/clock.ts';
import type { Address, Authenticator, Gate, Log, Metrics, Principal } from '../core/parts.ts';
import type { AnswerOf } from './contract/routes.ts';
