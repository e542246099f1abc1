// @ts-check

import {
  concernsUs, isOwnOrigin, patch, readRefusal, readRefusalOf, resolved, setting
} from './csrf_page.js'
import { unclobbered } from './unclobbered.js'

/**
 * Gives the token to what scripts send to our own origin: fetch, XMLHttpRequest, sendBeacon.
 */

/** @typedef {import('./csrf_page.js').Keeper} Keeper */

/** Reason of csrf:failed. */
const REFUSED = 'refused'
/** Bytes that Fetch lets all requests of a page together carry past its end. */
const KEEPALIVE_BYTES = 65_536
/** More than what stands around one field of a form's data. */
const FIELD_BYTES = 512

/** @typedef {Window & typeof globalThis} Realm  A window of this origin, a frame's for one. */

/**
 * Until the signal aborts, what is sent from `realm` has the token.
 * @param {Keeper} keeper @param {AbortSignal} signal @param {Realm} realm
 */
export function patchRequests (keeper, signal, realm) {
  const fetch = patchFetch(keeper, signal, realm)
  patchXHR(keeper, signal, realm)
  patchBeacon(keeper, fetch, signal, realm)
}

/** @param {Keeper} keeper @param {AbortSignal} signal @param {Realm} realm */
function patchFetch (keeper, signal, realm) {
  const unpatched = realm.fetch.bind(realm)
  patch(realm, 'fetch', signal, (_, args, original) =>
    fetchAsUs(keeper, args, original, baseOf(realm)))
  return unpatched
}

/** What relative addresses in `realm` are relative to. @param {Realm} realm */
function baseOf (realm) { return unclobbered(realm.document).baseURI }

/**
 * As fetch, with the token where it concerns us.
 * @param {Keeper} keeper @param {any[]} args @param {(...args: any[]) => Promise<Response>} fetch
 * @param {string} [base]
 */
export function fetchAsUs (keeper, args, fetch, base) {
  const [input, init] = args
  // Of whichever window: classes of a frame are not ours.
  const isRequest = Object.prototype.toString.call(input) === '[object Request]'
  const method = init?.method ?? (isRequest ? input.method : 'GET')
  if (!concernsUs(method, isRequest ? input.url : input, base)) return fetch(...args)
  return fetchWithToken(keeper, isRequest ? input : resolved(input, base), init, fetch)
}

/**
 * @param {Keeper} keeper @param {RequestInfo | URL} input @param {RequestInit} init
 * @param {typeof fetch} original
 */
async function fetchWithToken (keeper, input, init, original) {
  const request = kept(input, init)
  const header = setting('header')
  if (request.headers.has(header)) return original(request)

  // The first attempt uses the body up. A stream would have to be kept in memory whole; where the
  // body is a text, to make the request twice takes a tenth of the time of a clone.
  const body = init?.body
  const again = body instanceof ReadableStream
    ? undefined
    : typeof body === 'string' ? kept(input, init) : request.clone()
  const { signal } = request
  // A page that is being left waits for nothing, nor does a caller who has given up.
  if (!request.keepalive && !signal.aborted) {
    const aborted = new Promise(resolve => { signal.onabort = resolve })
    await Promise.race([keeper.refreshIfDue(), aborted])
  }
  /** @param {Request} request @param {Request} [again] @returns {Promise<Response>} */
  const send = async (request, again) => {
    if (keeper.token()) request.headers.set(header, keeper.token())
    const askedAt = Date.now()
    const response = await original(request)
    const grant = await readRefusal(response)
    if (!grant) return response
    if (keeper.refused(grant, askedAt) && again) return send(again)
    keeper.fail(REFUSED, { response })
    return response
  }
  return send(request, again)
}

/**
 * A redirect to another origin would carry the header along, wherever CORS there allows it.
 * Firefox forgets keepalive where a request is made of another.
 * @param {RequestInfo | URL} input @param {RequestInit} init
 */
function kept (input, init) {
  const asked = new Request(input, init)
  const { referrer, referrerPolicy, keepalive } = asked
  return new Request(asked, { mode: 'same-origin', referrer, referrerPolicy, keepalive })
}

/** @param {Keeper} keeper @param {AbortSignal} signal @param {Realm} realm */
function patchXHR (keeper, signal, realm) {
  /** Those that lack the token. */
  const bare = new WeakSet()
  const xhr = realm.XMLHttpRequest.prototype

  patch(xhr, 'open', signal, (request, args, original) => {
    original(...args)
    if (concernsUs(args[0], args[1], baseOf(realm))) bare.add(request)
    else bare.delete(request)
  })

  patch(xhr, 'setRequestHeader', signal, (request, args, original) => {
    original(...args)
    if (String(args[0]).toLowerCase() === setting('header').toLowerCase()) bare.delete(request)
  })

  patch(xhr, 'send', signal, (request, args, original) => {
    if (bare.has(request)) {
      const askedAt = Date.now()
      const token = keeper.token()
      if (token) request.setRequestHeader(setting('header'), token)
      request.addEventListener('load', () => {
        // Too late for this one: it makes the next one right.
        const grant = readRefusalOf(request)
        if (!grant) return
        keeper.refused(grant, askedAt)
        keeper.fail(REFUSED)
      }, { signal, once: true })
    }
    original(...args)
  })
}

/**
 * sendBeacon can set no header, and takes its body along to wherever it is redirected. fetch with
 * keepalive does the same work, stays at home and has room for as much, so it sends what is ours.
 * @param {Keeper} keeper @param {typeof window.fetch} fetch @param {AbortSignal} signal
 * @param {Realm} realm
 */
function patchBeacon (keeper, fetch, signal, realm) {
  let underWay = 0
  patch(realm.Navigator.prototype, 'sendBeacon', signal, (_, args, original) => {
    const [url, data] = args
    const token = keeper.token()
    const parts = data instanceof realm.FormData ? [...data].flat() : [data ?? '']
    const bytes = new Blob(parts).size + FIELD_BYTES * (parts.length - 1)
    const isOurs = args.length && token && isOwnOrigin(url, baseOf(realm))
    // Where there is no room left, the caller has to hear it.
    if (!isOurs || underWay + bytes > KEEPALIVE_BYTES) return original(...args)
    underWay += bytes
    fetch(url, {
      method: 'POST',
      body: data,
      keepalive: true,
      mode: 'same-origin',
      headers: { [setting('header')]: token }
    }).catch(() => {}).finally(() => { underWay -= bytes }) // nobody waits for an answer
    return true
  })
}
