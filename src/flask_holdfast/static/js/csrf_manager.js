// @ts-check

/**
 * CSRFManager keeps the CSRF token of a page fresh and gives it to every unsafe request that the
 * page makes to its own origin: fetch, XMLHttpRequest, forms. Importing does nothing;
 * `new CSRFManager().start()` does, and `stop()` undoes it. Pages that want one line load
 * `csrf_manager.auto.js`. The page says where things are (the values are the defaults):
 *
 *   <meta name="csrf-token" content="TOKEN" data-refresh-url="/session/csrf-token"
 *     data-header="X-CSRFToken" data-field="csrf_token" data-expires-in="1800" data-subject="">
 *
 * The refresh address answers {csrf_token, expires_in, subject}; a refused request is answered
 * 400 with the same three and a reason. `subject` is a fingerprint of who is signed in. A page
 * acts only for the person it was made for: when the subject differs it uses no token, sends
 * nothing again, and says `session:changed`. Without data-subject the server's first answer
 * stands for the page's person, and is asked for at start.
 *
 * A token never goes to another origin, with one exception that no script can prevent: an
 * XMLHttpRequest to our own origin that is answered with 307 or 308 to another one takes its
 * headers along. There the server must not redirect. fetch is kept by mode "same-origin".
 *
 * Events, on the manager and on document:
 *   csrf:refreshed   {expires_in}  a new token is in place
 *   csrf:expired     {}  the token ran out before a new one could be had
 *   csrf:failed      {reason, form?, response?}  something was not sent, or refused for good;
 *                    preventDefault() leaves out the built-in message at a form
 *   session:changed  {subject, previous}  somebody else is signed in, or nobody;
 *                    preventDefault() says that the page knows and goes on as them
 */

/** The one manager that runs in a window, whichever copy of this file it came from. */
const RUNNING = Symbol.for('flask_holdfast.csrf_manager')

const SAFE_METHOD = /^(GET|HEAD|OPTIONS|TRACE)$/i
const DEFAULTS = {
  refreshUrl: '/session/csrf-token', header: 'X-CSRFToken', field: 'csrf_token', expiresIn: '1800'
}

/** Reasons of csrf:failed. */
/** What CSRF_ERROR_STATUS may be. */
const REFUSALS = [400, 403]
const REFUSED = 'refused'
const REFRESH_FAILED = 'refresh_failed'
const SESSION_CHANGED = 'session_changed'

const UNREACHED = 'This was not sent, because the server could not be reached. Everything you ' +
  'typed is still here: please try again.'
const CHANGED = 'This was not sent, because who is signed in has changed since this page was ' +
  'opened. Keep a copy of what you typed, then reload the page.'

/** Milliseconds. Wake-ups that come together (visible, restored, online) make one refresh. */
const CALM = 5_000
const SOONEST_REFRESH = 30_000
const FIRST_BACK_OFF = 10_000
const ANSWER_WITHIN = 10_000 // a person waits for a held form

/**
 * What the server answers about this session: `expires_in` in seconds, null for never.
 * @typedef {{ csrf_token: string, expires_in: number | null, subject: string }} Grant
 */

/** The server was not reached (`cause`), or did not answer with a token (`response`). */
export class CSRFRefreshError extends Error {
  /** @param {string} message @param {{ response?: Response, cause?: unknown }} [details] */
  constructor (message, { response, cause } = {}) {
    super(message, { cause })
    this.name = 'CSRFRefreshError'
    this.response = response
  }
}

export class CSRFManager extends EventTarget {
  #interval
  /** @type {AbortController | undefined} While it runs: ends every listener and patch. */
  #life
  #token = ''
  /** By Date.now(): timers sleep with the machine and are throttled in hidden tabs. */
  #expiresAt = 0
  #lifetime = Infinity
  #expiryTold = false
  /** Every token this page has had: to know our own when it would leave. */
  #issued = new Set()
  /** @type {string | undefined} The person this page was made for. */
  #subject
  /** @type {string | undefined} Who is signed in instead. */
  #stranger
  /** @type {Promise<string> | undefined} The refresh under way. */
  #flight
  #attemptedAt = 0
  #retryAt = 0
  #failures = 0
  #timer = 0
  /** @type {WeakMap<HTMLFormElement, SubmitEvent>} Submissions on their way to formdata. */
  #submits = new WeakMap()
  #held = new WeakSet()
  /** @type {HTMLFormElement | undefined} The one that is being sent after it was held. */
  #released
  /** @type {HTMLElement | undefined} */
  #notice

  /** @param {{ interval?: number }} [options]  Seconds between refreshes. */
  constructor ({ interval = 300 } = {}) {
    super()
    this.#interval = interval * 1000
  }

  /** Begins, unless one runs in this window already. @returns {CSRFManager} The one that runs. */
  start () {
    const running = slot[RUNNING]
    if (running) return running
    slot[RUNNING] = this
    this.#life = new AbortController()
    const { signal } = this.#life
    this.#patchFetch(signal)
    this.#patchXHR(signal)

    // A held form is stopped before any handler of the page has acted on it, for they all run
    // again when it is sent.
    const first = { signal, capture: true }
    window.addEventListener('submit', event => this.#onSubmit(event), first)
    document.addEventListener('formdata', event => this.#onFormData(event), first)
    document.addEventListener('visibilitychange', () => this.#wake(), { signal })
    window.addEventListener('pageshow', event => { if (event.persisted) this.#wake() }, { signal })
    window.addEventListener('online', () => this.#wake(), { signal })

    const begin = () => this.#isFresh() && this.#subject !== undefined
      ? this.#schedule()
      : this.#refreshQuietly()
    if (document.readyState !== 'loading') begin()
    else document.addEventListener('DOMContentLoaded', begin, { signal, once: true })
    return this
  }

  /** Ends everything that start() began. Tokens that have been renewed stay so. */
  stop () {
    if (!this.#life) return
    this.#life.abort()
    this.#life = undefined
    this.#flight = undefined
    clearTimeout(this.#timer)
    this.#notice?.remove()
    delete slot[RUNNING]
  }

  /** The token to send now; empty where there is none, or where the session is another's. */
  get token () {
    this.#readPage()
    return this.#stranger === undefined ? this.#token : ''
  }

  /**
   * Asks the server for a new token; calls that overlap share one request.
   * @returns {Promise<string>}  As `token`. Rejects with CSRFRefreshError.
   */
  refresh () {
    const flight = this.#flight ?? this.#refresh().finally(() => {
      if (this.#flight === flight) this.#flight = undefined
    })
    this.#flight = flight
    return flight
  }

  // -- Freshness

  /**
   * Takes over what the page carries: its own token at first, later that of a page that a
   * library has swapped in. A token that we had before is an old copy, not news.
   */
  #readPage () {
    const meta = metaElement()
    const token = meta?.content || (this.#issued.size ? '' : ownFields()[0]?.value)
    if (!token || this.#issued.has(token)) return
    if (meta?.dataset.subject) {
      this.#subject = meta.dataset.subject
      this.#stranger = undefined
    }
    this.#keep(token, Number(setting('expiresIn')), this.#issued.size ? Date.now() : renderedAt())
  }

  /** @param {string} token @param {number} seconds @param {number} since */
  #keep (token, seconds, since) {
    this.#token = token
    this.#issued.add(token)
    this.#lifetime = seconds * 1000
    this.#expiresAt = since + this.#lifetime
    this.#expiryTold = false
  }

  #isFresh () { return this.token !== '' && Date.now() < this.#expiresAt }

  async #refresh () {
    const life = this.#life
    this.#attemptedAt = Date.now()
    if (this.token && !this.#isFresh() && !this.#expiryTold) {
      this.#expiryTold = true
      this.#emit('csrf:expired', {})
    }
    try {
      const grant = await requestGrant()
      if (life?.signal.aborted) return ''
      this.#failures = this.#retryAt = 0
      this.#accept(grant)
      return this.token
    } catch (error) {
      this.#backOff(error)
      throw error
    } finally {
      if (life === this.#life) this.#schedule()
    }
  }

  async #refreshQuietly () { await this.refresh().catch(() => {}) }

  /** @param {unknown} error */
  #backOff (error) {
    const longest = FIRST_BACK_OFF * 2 ** this.#failures
    this.#failures += 1
    const asked = error instanceof CSRFRefreshError && error.response?.headers.get('Retry-After')
    // Half of it by chance, or every page would come to a restarted server at once.
    const wait = Math.max(longest * (0.5 + Math.random() / 2), Number(asked) * 1000 || 0)
    this.#retryAt = Date.now() + Math.min(wait, this.#interval)
  }

  #schedule () {
    clearTimeout(this.#timer)
    if (!this.#life) return
    const regular = Math.min(this.#interval, Math.max(SOONEST_REFRESH, this.#lifetime * 0.8))
    const wait = this.#failures ? this.#retryAt - Date.now() : regular
    this.#timer = window.setTimeout(() => this.#refreshQuietly(), wait)
  }

  /** The page is looked at again or the network is back: ask now, whatever the timer says. */
  #wake () {
    const isDue = this.#failures > 0 || Math.abs(Date.now() - this.#attemptedAt) >= CALM
    if (isDue && document.visibilityState === 'visible') this.#refreshQuietly()
  }

  /**
   * Puts a token in place, if it belongs to the person this page was made for: with another's,
   * the page would send what one person typed as another person.
   * @param {Grant} grant
   */
  #accept ({ csrf_token: token, expires_in: seconds, subject }) {
    const previous = this.#subject ??= subject
    if (subject !== previous) {
      if (subject === this.#stranger) return false
      this.#stranger = subject
      if (this.#emit('session:changed', { subject, previous })) return false
      this.#subject = subject
    }
    this.#stranger = undefined
    this.#keep(token, seconds ?? Infinity, Date.now())
    metaElement()?.setAttribute('content', token)
    for (const field of ownFields()) field.value = token
    this.#emit('csrf:refreshed', { expires_in: seconds })
    return true
  }

  /**
   * A refusal tells who is signed in now, not for whom the page was made: while that is unknown,
   * nothing is sent again.
   * @param {Grant} grant
   */
  #acceptAfterRefusal (grant) {
    return this.#subject !== undefined && this.#accept(grant)
  }

  /** @param {string} reason @param {{ form?: HTMLFormElement, response?: Response }} [about] */
  #fail (reason, about) {
    if (this.#stranger !== undefined) reason = SESSION_CHANGED
    return this.#emit('csrf:failed', { reason, ...about })
  }

  // -- fetch and XMLHttpRequest

  /** @param {AbortSignal} signal */
  #patchFetch (signal) {
    patch(window, 'fetch', signal, (_, [input, init], original) => {
      const isRequest = input instanceof Request
      const method = init?.method ?? (isRequest ? input.method : 'GET')
      const isOurs = concernsUs(method, isRequest ? input.url : input)
      return isOurs ? this.#fetch(input, init, original) : original(input, init)
    })
  }

  /** @param {RequestInfo | URL} input @param {RequestInit} init @param {typeof fetch} original */
  async #fetch (input, init, original) {
    const asked = new Request(input, init)
    if (!isOwnOrigin(asked.url)) return original(asked)
    // A redirect to another origin would carry the header along, wherever CORS there allows it.
    const { referrer, referrerPolicy } = asked
    const request = new Request(asked, { mode: 'same-origin', referrer, referrerPolicy })
    const header = setting('header')
    if (request.headers.has(header)) return original(request)

    // A page that is being left waits for nothing; a server that is away is asked by the timer.
    const mayWait = !request.keepalive && Date.now() >= this.#retryAt
    if (mayWait && !this.#isFresh()) await this.#refreshQuietly()
    // The first attempt uses the body up. A stream would have to be kept in memory whole.
    const again = init?.body instanceof ReadableStream ? undefined : request.clone()
    if (this.token) request.headers.set(header, this.token)
    const response = await original(request)
    const grant = await readRefusal(response)
    if (!grant) return response
    if (!this.#acceptAfterRefusal(grant) || !again) {
      this.#fail(REFUSED, { response })
      return response
    }
    again.headers.set(header, this.token)
    const second = await original(again)
    if (await readRefusal(second)) this.#fail(REFUSED, { response: second })
    return second
  }

  /** @param {AbortSignal} signal */
  #patchXHR (signal) {
    /** @type {WeakMap<XMLHttpRequest, { concernsUs: boolean, hasHeader: boolean }>} */
    const opened = new WeakMap()
    const xhr = XMLHttpRequest.prototype

    patch(xhr, 'open', signal, (request, args, original) => {
      original(...args)
      opened.set(request, { concernsUs: concernsUs(args[0], args[1]), hasHeader: false })
    })

    patch(xhr, 'setRequestHeader', signal, (request, args, original) => {
      original(...args)
      const known = opened.get(request)
      const isOurs = String(args[0]).toLowerCase() === setting('header').toLowerCase()
      if (known && isOurs) known.hasHeader = true
    })

    patch(xhr, 'send', signal, (request, args, original) => {
      const known = opened.get(request)
      if (known?.concernsUs && !known.hasHeader) {
        if (this.token) request.setRequestHeader(setting('header'), this.token)
        request.addEventListener('load', () => this.#onLoad(request), { signal, once: true })
      }
      original(...args)
    })
  }

  /** Too late for this one: it makes the next one right. @param {XMLHttpRequest} request */
  #onLoad ({ status, responseURL, response }) {
    if (!REFUSALS.includes(status) || !isOwnOrigin(responseURL)) return
    const grant = asGrant(typeof response === 'string' ? parsed(response) : response)
    if (!grant) return
    this.#acceptAfterRefusal(grant)
    this.#fail(REFUSED)
  }

  // -- Forms

  /** @param {SubmitEvent} event */
  #onSubmit (event) {
    const { target: form, submitter } = event
    // A made-up submit event sends nothing, so there is nothing to hold.
    if (!event.isTrusted || !(form instanceof HTMLFormElement)) return
    const { isOwn, isPost } = destination(form, submitter)
    if (isOwn && isPost && form !== this.#released && !this.#isFresh()) {
      event.preventDefault()
      event.stopImmediatePropagation()
      if (!this.#held.has(form)) this.#hold(form, submitter)
    } else {
      // formdata, which follows at once, does not say which button was pressed.
      this.#submits.set(form, event)
      setTimeout(() => this.#submits.delete(form))
    }
  }

  /**
   * Elements of a form are named by its fields, and a field named "action" or "before" hides the
   * form's own: hence the calls through prototypes.
   * @param {HTMLFormElement} form @param {HTMLElement | null} submitter
   */
  async #hold (form, submitter) {
    this.#held.add(form)
    this.#notice?.remove()
    Element.prototype.setAttribute.call(form, 'aria-busy', 'true')
    const life = this.#life
    const token = await this.refresh().catch(() => '')
    Element.prototype.removeAttribute.call(form, 'aria-busy')
    this.#held.delete(form)
    if (!token && !life?.signal.aborted) return this.#giveBack(form)
    const isButton = submitter instanceof HTMLButtonElement || submitter instanceof HTMLInputElement
    const button = isButton && submitter.form === form ? submitter : null
    this.#released = form
    HTMLFormElement.prototype.requestSubmit.call(form, button)
    this.#released = undefined
  }

  /** @param {HTMLFormElement} form */
  #giveBack (form) {
    if (!this.#fail(REFRESH_FAILED, { form })) return
    const notice = document.createElement('div')
    notice.className = 'holdfast-notice'
    notice.setAttribute('role', 'alert')
    notice.textContent = this.#stranger === undefined ? UNREACHED : CHANGED
    this.#notice = notice
    Element.prototype.before.call(form, notice)
  }

  /**
   * Comes whenever a form's data is gathered, by form.submit() too.
   * @param {FormDataEvent} event
   */
  #onFormData ({ target: form, formData }) {
    if (!(form instanceof HTMLFormElement)) return
    const submit = this.#submits.get(form)
    this.#submits.delete(form)
    // The button counts only in the very submission that it began: a handler that cancels that,
    // or calls form.submit() in its midst, sends the form to its own action.
    const isThatOne = submit && !submit.defaultPrevented && submit.eventPhase === Event.NONE
    const { isOwn, isPost } = destination(form, isThatOne ? submit.submitter : null)
    const token = this.token
    if (isOwn && isPost && token) formData.set(setting('field'), token)
    if (isOwn) return
    // The page's author put our token into a form or button that leads elsewhere.
    for (const [name, value] of [...formData]) {
      if (this.#issued.has(String(value))) formData.delete(name)
    }
  }

  /** @param {string} type @param {object} detail @returns {boolean} Nobody prevented it. */
  #emit (type, detail) {
    const init = { detail, cancelable: true }
    const here = this.dispatchEvent(new CustomEvent(type, init))
    return document.dispatchEvent(new CustomEvent(type, init)) && here
  }
}

const slot = /** @type {{ [RUNNING]?: CSRFManager }} */ (/** @type {unknown} */ (window))

/** @returns {HTMLMetaElement | null} */
function metaElement () {
  return document.querySelector('meta[name="csrf-token"]')
}

/** Read at each use, for libraries swap heads. @param {keyof typeof DEFAULTS} name */
function setting (name) {
  return metaElement()?.dataset[name] || DEFAULTS[name]
}

/** Hidden fields for our token, those of prefixed forms too, except where the form leaves us. */
function ownFields () {
  const name = CSS.escape(setting('field'))
  const selector = `input[type="hidden"]:is([name="${name}"], [name$="-${name}"])`
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(selector))
  return [...fields].filter(field => !field.form || destination(field.form).isOwn)
}

/** When the page was made, at the latest. One from the browser's cache may be of any age. */
function renderedAt () {
  /** @type {any} */
  const entry = performance.getEntriesByType('navigation')[0]
  const isOldCopy = entry?.type === 'back_forward' || entry?.transferSize === 0
  return isOldCopy ? -Infinity : Date.now() - performance.now()
}

/**
 * Judges the address that the browser will use, never its spelling: "//host", "\\host", capitals
 * and tabs mean what the URL parser makes of them. A sandboxed page ("null") has no own origin.
 * @param {unknown} url
 */
function isOwnOrigin (url) {
  try {
    const { origin, protocol } = new URL(String(url), document.baseURI)
    return /^https?:$/.test(protocol) && origin === self.origin
  } catch {
    return false
  }
}

/** @param {string} method @param {unknown} url */
function concernsUs (method, url) {
  return !SAFE_METHOD.test(method) && isOwnOrigin(url)
}

/**
 * Where a form leads, as the HTML standard has it.
 * @param {HTMLFormElement} form @param {HTMLElement | null} [submitter]
 */
function destination (form, submitter) {
  const attribute = (/** @type {string} */ name) =>
    submitter?.getAttribute('form' + name) ?? Element.prototype.getAttribute.call(form, name)
  const isPost = attribute('method')?.toLowerCase() === 'post'
  return { isOwn: isOwnOrigin(attribute('action') || document.URL), isPost }
}

/** @returns {Promise<Grant>} Rejects with CSRFRefreshError. */
async function requestGrant () {
  const url = setting('refreshUrl')
  if (!isOwnOrigin(url)) throw new CSRFRefreshError('The refresh address is of another origin.')
  const response = await fetch(url, {
    mode: 'same-origin',
    credentials: 'same-origin',
    redirect: 'error',
    cache: 'no-store',
    headers: { Accept: 'application/json' },
    signal: AbortSignal.timeout(ANSWER_WITHIN)
  }).catch(cause => { throw new CSRFRefreshError('The server was not reached.', { cause }) })
  const grant = response.ok && asGrant(await response.json().catch(() => null))
  if (!grant) throw new CSRFRefreshError('The server did not answer with a token.', { response })
  return grant
}

/** What a refusal of ours brings; null for every other answer. @param {Response} response */
async function readRefusal (response) {
  const isJSON = response.headers.get('Content-Type')?.includes('json')
  if (!REFUSALS.includes(response.status) || !isJSON) return null
  return asGrant(await response.clone().json().catch(() => null))
}

/** @param {string} text */
function parsed (text) {
  try { return JSON.parse(text) } catch { return null }
}

/** @param {any} body @returns {Grant | null} */
function asGrant (body) {
  const { csrf_token: token, expires_in: seconds, subject } = body ?? {}
  const isToken = typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)
  const isTime = seconds === null || typeof seconds === 'number'
  return isToken && isTime && typeof subject === 'string' ? body : null
}

/**
 * Puts a function in a method's place until the signal aborts. Whoever has wrapped ours by then
 * keeps it, so after the abort it passes everything on.
 * @param {any} target @param {string} name @param {AbortSignal} signal
 * @param {(self: any, args: any[], original: (...args: any[]) => any) => unknown} instead
 */
function patch (target, name, signal, instead) {
  const method = target[name]
  /** @this {unknown} */
  function ours (/** @type {any[]} */ ...args) {
    if (signal.aborted) return Reflect.apply(method, this, args)
    return instead(this, args, (...passed) => Reflect.apply(method, this, passed))
  }
  target[name] = ours
  signal.addEventListener('abort', () => { if (target[name] === ours) target[name] = method })
}
