// @ts-check

import { concernsUs, isOwnOrigin, patch, readRefusal, readRefusalOf, setting } from './csrf_page.js'

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

/** Until the signal aborts. @param {Keeper} keeper @param {AbortSignal} signal */
export function patchRequests (keeper, signal) {
  const fetch = patchFetch(keeper, signal)
  patchXHR(keeper, signal)
  patchBeacon(keeper, fetch, signal)
}

/** @param {Keeper} keeper @param {AbortSignal} signal */
function patchFetch (keeper, signal) {
  const unpatched = window.fetch.bind(window)
  patch(window, 'fetch', signal, (_, args, original) => {
    const [input, init] = args
    const isRequest = input instanceof Request
    const method = init?.method ?? (isRequest ? input.method : 'GET')
    const isOurs = concernsUs(method, isRequest ? input.url : input)
    return isOurs ? fetchWithToken(keeper, input, init, original) : original(...args)
  })
  return unpatched
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

/** @param {Keeper} keeper @param {AbortSignal} signal */
function patchXHR (keeper, signal) {
  /** Those that lack the token. */
  const bare = new WeakSet()
  const xhr = XMLHttpRequest.prototype

  patch(xhr, 'open', signal, (request, args, original) => {
    original(...args)
    if (concernsUs(args[0], args[1])) bare.add(request)
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
 */
function patchBeacon (keeper, fetch, signal) {
  let underWay = 0
  patch(Navigator.prototype, 'sendBeacon', signal, (_, args, original) => {
    const [url, data] = args
    const token = keeper.token()
    const parts = data instanceof FormData ? [...data].flat() : [data ?? '']
    const bytes = new Blob(parts).size + FIELD_BYTES * (parts.length - 1)
    const isOurs = args.length && token && isOwnOrigin(url)
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
