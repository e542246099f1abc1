// @ts-check

/**
 * The token in a worker, which has no page to read one from: a dedicated worker, a shared one, or
 * a service worker. Each has to be a module worker.
 *
 *   import { csrfFetch } from '/session/static/js/csrf_worker.js'
 *   const fetch = csrfFetch()
 *   await fetch('/notes', { method: 'POST', body })
 *
 * What this function sends to our own origin by an unsafe method has a fresh token, and is sent
 * once more where the server refuses it with another. Whatever else sends goes without: the
 * worker's own fetch, XMLHttpRequest.
 *
 * It acts for one person, `subject`, or else for the one who was signed in when it was first used:
 * once somebody else is signed in, it sends no token, and the server refuses. A service worker,
 * which outlives sign-ins, makes one for each piece of work, with the `subject` of the page that
 * asked for it: the data-subject of its meta element.
 */

import { requestGrant } from './csrf_grant.js'
import { DEFAULTS } from './csrf_page.js'
import { fetchAsUs } from './csrf_requests.js'

/**
 * @typedef {object} Options
 * @property {string} [subject]  For whom it acts.
 * @property {string} [refreshUrl]  Where tokens come from, as data-refresh-url of a page; one for
 *   the whole worker, as is `header`.
 * @property {string} [header]  What carries them, as data-header.
 */

/** @param {Options} [options] @returns {typeof fetch} */
export function csrfFetch ({ subject, ...where } = {}) {
  Object.assign(DEFAULTS, where)
  let token = ''
  let endsAt = 0
  let newest = -Infinity
  let isChanged = false
  /** @type {Promise<unknown> | undefined} */
  let flight

  /** @param {import('./csrf_page.js').Grant} grant @param {number} askedAt */
  const take = (grant, askedAt) => {
    if (askedAt >= newest) { // what was asked for before came late
      newest = askedAt
      subject ??= grant.subject
      isChanged = grant.subject !== subject
      token = isChanged ? '' : grant.csrf_token
      endsAt = askedAt + (grant.expires_in ?? Infinity) * 1000
    }
    return token !== ''
  }
  const refresh = async () => {
    const askedAt = Date.now()
    take(await requestGrant(), askedAt)
    return token
  }
  /** @type {import('./csrf_page.js').Keeper} */
  const keeper = {
    token: () => token,
    isFresh: () => token !== '' && Date.now() < endsAt,
    refresh,
    refreshIfDue: async () => {
      if (keeper.isFresh()) return
      flight ??= refresh().catch(() => '').finally(() => { flight = undefined })
      await flight
    },
    refused: (grant, askedAt) => subject !== undefined && take(grant, askedAt),
    fail: reason => reason,
    isIssued: text => text !== '' && text === token,
    isChanged: () => isChanged
  }
  const original = self.fetch.bind(self)
  return (...args) => fetchAsUs(keeper, args, original)
}
