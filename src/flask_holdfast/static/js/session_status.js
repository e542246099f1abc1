// @ts-check

/**
 * Asks the server how the session stands, for SessionClock: where, how often at most, and what
 * counts as an answer. Quietly: a server that is away is left alone for a while, and no failure is
 * an answer.
 */

import { ownAddress, said } from './csrf_page.js'

/**
 * What the server says of this session. Seconds; null for never.
 * @typedef {{ authenticated: boolean, idle_expires_in: number | null,
 *   absolute_expires_in: number | null, subject: string }} Status
 *
 * `since`: when it was asked, by Date.now(), so that what is left is never more than counted from
 * there.
 * @typedef {{ status: Status, since: number }} Answer
 */

/** Milliseconds. */
const ANSWER_WITHIN = 10_000
const FIRST_BACK_OFF = 5_000
const LONGEST_BACK_OFF = 60_000

export class StatusClient {
  #failures = 0
  /** Before that the server is better left alone, by Date.now(). */
  retryAt = 0
  /** The status code of the last answer that was none; 0 where there was no answer at all. */
  lastRefusal = 0

  /** Whether the last question had no answer. */
  get isAway () { return this.#failures > 0 }

  /** Does not count as activity. @returns {Promise<Answer | null>} */
  ask () { return this.#request(statusUrl()) }

  /** Slides the idle time. @returns {Promise<Answer | null>} */
  keepAlive () {
    return this.#request(said('keepAliveUrl') || '/session/keep-alive', { method: 'POST' })
  }

  /** @param {string} url @param {RequestInit} [init] */
  async #request (url, init) {
    const since = Date.now()
    const response = await fetch(ownAddress(url), {
      mode: 'same-origin',
      credentials: 'same-origin',
      redirect: 'error',
      cache: 'no-store',
      headers: { Accept: 'application/json' },
      signal: AbortSignal.timeout(ANSWER_WITHIN),
      ...init
    }).catch(() => null)
    const status = asStatus(await response?.json().catch(() => null))
    if (!status) {
      this.lastRefusal = response?.status ?? 0
      this.backOff(Number(response?.headers.get('Retry-After')) * 1000)
      return null
    }
    this.#failures = this.retryAt = 0
    return { status, since }
  }

  /** @param {number} [wished]  For how many milliseconds the server wants to be left alone. */
  backOff (wished = 0) {
    const longest = Math.min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** this.#failures)
    this.#failures += 1
    // Half of it by chance, or every page would come to a restarted server at once.
    const wait = Math.max(longest * (0.5 + Math.random() / 2), wished || 0)
    this.retryAt = Date.now() + Math.min(wait, LONGEST_BACK_OFF)
  }
}

export function statusUrl () { return said('statusUrl') || '/session/status' }

/** @param {any} body @returns {Status | null} */
function asStatus (body) {
  const isTime = (/** @type {unknown} */ value) => value === null || typeof value === 'number'
  const isStatus = typeof body?.authenticated === 'boolean' && typeof body.subject === 'string' &&
    isTime(body.idle_expires_in) && isTime(body.absolute_expires_in)
  return isStatus ? body : null
}
