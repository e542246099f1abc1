// @ts-check
import { SessionClock } from './session_clock.js'

/** The clock of this window, for pages that load this file and want to listen to it. */
export const clock = new SessionClock().start()
