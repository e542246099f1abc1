// @ts-check

/** Asks the server for a token: for pages and for workers. */

import { asGrant, ownAddress, setting } from './csrf_page.js'

/** @typedef {import('./csrf_page.js').Grant} Grant */

/** Milliseconds. A person waits for a held form. */
const ANSWER_WITHIN = 10_000

/** The server was not reached (`cause`), or did not answer with a token (`response`). */
export class CSRFRefreshError extends Error {
  /** @param {string} message @param {{ response?: Response, cause?: unknown }} [details] */
  constructor (message, { response, cause } = {}) {
    super(message, { cause })
    this.name = 'CSRFRefreshError'
    this.response = response
  }
}

/** @returns {Promise<Grant>} Rejects with CSRFRefreshError. */
export async function requestGrant () {
  const response = await fetch(ownAddress(setting('refreshUrl')), {
    mode: 'same-origin',
    redirect: 'error',
    cache: 'no-store',
    signal: AbortSignal.timeout(ANSWER_WITHIN)
  }).catch(cause => { throw new CSRFRefreshError('The server was not reached.', { cause }) })
  const grant = response.ok && asGrant(await response.json().catch(() => null))
  if (!grant) throw new CSRFRefreshError('The server gave no token.', { response })
  return grant
}
