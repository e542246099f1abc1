// @ts-check

/**
 * What a page says of its token, and where addresses, forms and answers lead. Decisions only: for
 * what is done with them see csrf_manager.js.
 */

import { page, unclobbered } from './unclobbered.js'

const META = 'meta[name="csrf-token"]'
const SAFE_METHOD = /^(GET|HEAD|OPTIONS|TRACE)$/i
/** What CSRF_ERROR_STATUS may be. */
const REFUSALS = [400, 403]
export const DEFAULTS = {
  refreshUrl: '/session/csrf-token', header: 'X-CSRFToken', field: 'csrf_token', expiresIn: '1800'
}

/**
 * What the server answers about this session: `expires_in` in seconds, null for never; `subject`
 * is a fingerprint of who is signed in.
 * @typedef {{ csrf_token: string, expires_in: number | null, subject: string }} Grant
 */

/**
 * What requests and forms need of the manager. `token`: to send now, may be empty. `isFresh`:
 * whether it is good. `refresh`: a new one, or rejects; `refreshIfDue` does so if it is not good
 * and the server may be asked, and never rejects. `refused` takes what a refusal brought, and says
 * whether the request may be sent again. `fail` says what was not sent, or refused for good, and
 * why: the reason that the person is still to be told, empty where the page does that. `isIssued`:
 * a text is a token that this page ever had. `isChanged`: somebody else is signed in than the page
 * was made for.
 * @typedef {object} Keeper
 * @property {() => string} token
 * @property {() => boolean} isFresh
 * @property {() => Promise<string>} refresh
 * @property {() => Promise<void>} refreshIfDue
 * @property {(grant: Grant, askedAt: number) => boolean} refused
 * @property {(reason: string, about?: { form?: HTMLFormElement, response?: Response }) => string}
 *   fail
 * @property {(text: string) => boolean} isIssued
 * @property {() => boolean} isChanged
 */

/** @returns {HTMLMetaElement[]} */
export function metaElements () {
  return [.../** @type {NodeListOf<HTMLMetaElement>} */ (page.querySelectorAll(META))]
}

/**
 * What the page's meta elements say with one voice. Beside the page's own there may be one that
 * somebody has smuggled into a text, and nothing tells which is which: where two differ, neither is
 * believed, and this is empty. Undefined where none says anything.
 * @param {(meta: HTMLMetaElement) => string | undefined} read
 */
function agreed (read) {
  const [value, ...others] = new Set(metaElements().map(read).filter(Boolean))
  return others.length ? '' : value
}

/** An attribute "data-..." of the meta element. @param {string} name @returns {string | undefined} */
export function said (name) { return agreed(meta => meta.dataset[name]) }

/** The token of the meta element. */
export function metaToken () { return agreed(meta => meta.content) }

/** Read at each use, for libraries swap heads. @param {keyof typeof DEFAULTS} name */
export function setting (name) { return said(name) || DEFAULTS[name] }

/** Whether a token stands in this page, in a meta element or in a field. @param {string} text */
export function isInPage (text) {
  return metaElements().some(meta => meta.content === text) ||
    tokenFields().some(field => field.value === text)
}

/**
 * Texts for people: the defaults, over them those of the page's data-words, over all the caller's.
 * @template {Record<string, string>} Words
 * @param {Words} defaults @param {Partial<Words>} [own] @returns {Words}
 */
export function words (defaults, own) {
  return { ...defaults, ...parsed(said('words')), ...own }
}

/** Hidden fields for our token, those of prefixed forms too, except where the form leaves us. */
export function tokenFields () {
  const name = CSS.escape(setting('field'))
  const selector = `input[type="hidden"]:is([name="${name}"], [name$="-${name}"])`
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (page.querySelectorAll(selector))
  return [...fields].filter(field => !field.form || destination(field.form).isOwn)
}

/**
 * When this page was made, by Date.now(): `asked` and `known` lie before and after that. One from
 * the browser's cache may be of any age.
 */
export function pageTimes () {
  const entry = /** @type {PerformanceNavigationTiming | undefined} */ (
    performance.getEntriesByType('navigation')[0])
  const isOldCopy = entry?.type === 'back_forward' || entry?.transferSize === 0
  const asked = isOldCopy ? -Infinity : Date.now() - performance.now()
  return { asked, known: asked + (entry?.responseStart ?? 0) }
}

/** @param {unknown} url @param {string} [base] @returns {URL | null} */
export function resolved (url, base = page.baseURI) {
  try { return new URL(String(url), base) } catch { return null }
}

/**
 * Judges the address that the browser will use, never its spelling: "//host", "\\host", capitals
 * and tabs mean what the URL parser makes of them. A sandboxed page ("null") has no own origin.
 * @param {unknown} url @param {string} [base]
 */
export function isOwnOrigin (url, base) {
  const { origin, protocol } = resolved(url, base) ?? {}
  return /^https?:$/.test(protocol ?? '') && origin === self.origin
}

/** @param {string} method @param {unknown} url @param {string} [base] */
export function concernsUs (method, url, base) {
  return !SAFE_METHOD.test(method) && isOwnOrigin(url, base)
}

/**
 * An address of the application's as it means it: whatever <base> the page has, or has been given.
 * @param {string} url
 */
export function ownAddress (url) {
  const { protocol, href } = self.location
  return new URL(url, /^http/.test(protocol) ? href : self.origin).href
}

/**
 * Where a form leads, and how, as the HTML standard has it.
 * @param {HTMLFormElement} form @param {HTMLElement | null} [submitter]
 */
export function destination (form, submitter) {
  const attribute = (/** @type {string} */ name) =>
    submitter?.getAttribute('form' + name) ?? unclobbered(form).getAttribute(name)
  const { URL: here, baseURI } = unclobbered(unclobbered(form).ownerDocument)
  const action = attribute('action') || here
  const isPost = attribute('method')?.toLowerCase() === 'post'
  return { url: resolved(action, baseURI)?.href, isOwn: isOwnOrigin(action, baseURI), isPost }
}

/** What a refusal of ours brings; null for every other answer. @param {Response} response */
export async function readRefusal (response) {
  const isJSON = response.headers.get('Content-Type')?.includes('json')
  if (!isJSON || !REFUSALS.includes(response.status)) return null
  return asGrant(await response.clone().json().catch(() => null))
}

/** The same of an XMLHttpRequest that has ended. @param {XMLHttpRequest} request */
export function readRefusalOf ({ status, responseURL, response }) {
  if (!REFUSALS.includes(status) || !isOwnOrigin(responseURL)) return null
  return asGrant(typeof response === 'string' ? parsed(response) : response)
}

/** @param {any} body @returns {Grant | null} */
export function asGrant (body) {
  const { csrf_token: token, expires_in: seconds, subject } = body ?? {}
  const isToken = typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)
  const isTime = seconds === null || typeof seconds === 'number'
  return isToken && isTime && typeof subject === 'string' ? body : null
}

/** @param {any} text  Null of what is no JSON, or no text. */
function parsed (text) {
  try { return JSON.parse(text) } catch { return null }
}

/**
 * Puts a function in a method's place until the signal aborts. Whoever has wrapped ours by then
 * keeps it, so after the abort it passes everything on.
 * @param {any} target @param {string} name @param {AbortSignal} signal
 * @param {(self: any, args: any[], original: (...args: any[]) => any) => unknown} instead
 */
export function patch (target, name, signal, instead) {
  const method = target[name]
  /** @this {unknown} */
  function ours (/** @type {any[]} */ ...args) {
    const original = (/** @type {any[]} */ ...passed) => Reflect.apply(method, this, passed)
    return signal.aborted ? original(...args) : instead(this, args, original)
  }
  target[name] = ours
  signal.addEventListener('abort', () => { if (target[name] === ours) target[name] = method })
}
