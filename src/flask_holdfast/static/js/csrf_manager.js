// @ts-check

/**
 * CSRFManager: keeps the CSRF token of a page fresh, and gives it to every unsafe request that
 * the page makes to its own origin: fetch, XMLHttpRequest and forms.
 *
 * Importing does nothing; `new CSRFManager().start()` does, and `stop()` undoes it. Pages that
 * want one line load `csrf_manager.auto.js`.
 *
 * The page says where things are, and everything but the name has the default shown:
 *
 *   <meta name="csrf-token" content="TOKEN" data-refresh-url="/session/csrf-token"
 *         data-header="X-CSRFToken" data-field="csrf_token" data-expires-in="1800"
 *         data-subject="...">
 *
 * The refresh address answers {"csrf_token", "expires_in", "subject"}; a refused request is
 * answered 400 with the same three and a reason. `subject` is a fingerprint of who is signed in.
 * A page acts only for the person it was made for: once the subject differs, no token is used,
 * nothing is sent again, and `session:changed` says so. Without `data-subject` the first answer
 * of the server stands for the page's own person, so it is asked for at start.
 *
 * A token never goes to another origin. One way out is not ours to close: an XMLHttpRequest to
 * our own origin that is answered with a 307 or 308 to elsewhere takes its headers along, and no
 * script can stop it. The server must not answer so. fetch is stopped by mode "same-origin".
 *
 * Events, on the manager and on document, all cancelable:
 *   csrf:refreshed   {expires_in}: a new token is in place
 *   csrf:expired     {}: the token ran out before a new one could be had
 *   csrf:failed      {reason, form?, response?}: something could not be sent; preventDefault()
 *                    leaves out the built-in message at a form
 *   session:changed  {subject, previous}: somebody else is signed in, or nobody; preventDefault()
 *                    tells the manager that the page has taken this over and goes on as them
 */

/** The one manager that runs in a window, whichever copy of this file it came from. */
const RUNNING = Symbol.for('flask_holdfast.csrf_manager')

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS', 'TRACE']

/** What the meta element may leave out. */
const DEFAULTS = {
  refreshUrl: '/session/csrf-token',
  header: 'X-CSRFToken',
  field: 'csrf_token',
  expiresIn: '1800'
}

/** Reasons of csrf:failed. */
const REFRESH_FAILED = 'refresh_failed'
const REFUSED = 'refused'
const SESSION_CHANGED = 'session_changed'

const MESSAGES = {
  [REFRESH_FAILED]:
    'This was not sent, because the server could not be reached. ' +
    'Everything you typed is still here: please try again.',
  [SESSION_CHANGED]:
    'This was not sent, because who is signed in has changed since this page was opened. ' +
    'Keep a copy of what you typed, then reload the page.'
}

/** Milliseconds. Wake-ups that come together (visible, restored, online) make one refresh. */
const CALM = 5_000
const SOONEST_REFRESH = 30_000
const FIRST_BACK_OFF = 10_000
/** A person waits for a held form; a server that does not answer by then is away. */
const ANSWER_WITHIN = 10_000

/**
 * @typedef {object} Grant  What the server answers about this session.
 * @property {string} csrf_token
 * @property {number | null} expires_in  Seconds; null where tokens do not expire.
 * @property {string} subject
 */

/** The server was not reached, or did not answer with a token. */
export class CSRFRefreshError extends Error {
  /**
   * @param {string} message
   * @param {{ response?: Response, cause?: unknown }} [details]
   */
  constructor (message, { response, cause } = {}) {
    super(message, { cause })
    this.name = 'CSRFRefreshError'
    this.response = response
  }
}

export class CSRFManager extends EventTarget {
  /** Milliseconds between refreshes. */
  #interval
  /** @type {AbortController | undefined} Aborted by stop(): it holds every listener and patch. */
  #life
  #token = ''
  /** By Date.now(): timers sleep with the machine and are throttled in hidden tabs. */
  #expiresAt = 0
  #lifetime = Infinity
  /** @type {string | undefined} The person this page was made for. */
  #subject
  /** @type {string | undefined} Who is signed in instead. */
  #stranger
  /** @type {Set<string>} Every token this page has had: to know our own when it would leave. */
  #issued = new Set()
  /** @type {Promise<string> | undefined} */
  #flight
  #attemptedAt = 0
  #retryAt = 0
  #failures = 0
  #expiryTold = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** @type {WeakMap<HTMLFormElement, SubmitEvent>} */
  #submits = new WeakMap()
  /** @type {WeakSet<HTMLFormElement>} */
  #held = new WeakSet()
  /** @type {HTMLFormElement | undefined} */
  #released
  /** @type {HTMLElement | undefined} */
  #notice

  /**
   * @param {object} [options]
   * @param {number} [options.interval]  Seconds between refreshes.
   */
  constructor ({ interval = 300 } = {}) {
    super()
    this.#interval = interval * 1000
  }

  /**
   * Begins, unless a manager already runs in this window.
   * @returns {CSRFManager} The one that runs.
   */
  start () {
    const running = slot[RUNNING]
    if (running) return running
    slot[RUNNING] = this
    this.#life = new AbortController()
    const { signal } = this.#life
    this.#patchFetch(signal)
    this.#patchXHR(signal)

    // On window and capturing: a held form must be stopped before any handler of the page has
    // acted on it, because they all run again when it is sent.
    const early = { signal, capture: true }
    window.addEventListener('submit', event => this.#onSubmit(event), early)
    document.addEventListener('formdata', event => this.#onFormData(event), early)
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#wake()
    }, { signal })
    window.addEventListener('pageshow', event => { if (event.persisted) this.#wake() }, { signal })
    window.addEventListener('online', () => this.#wake(), { signal })

    if (document.readyState === 'loading') {
      document.addEventListener('DOMContentLoaded', () => this.#begin(), { signal, once: true })
    } else {
      this.#begin()
    }
    return this
  }

  /** Ends everything that start() began. What has been sent or refreshed stays so. */
  stop () {
    if (!this.#life) return
    this.#life.abort()
    this.#life = undefined
    this.#flight = undefined
    clearTimeout(this.#timer)
    this.#notice?.remove()
    if (slot[RUNNING] === this) delete slot[RUNNING]
  }

  /** The token to send now; empty where there is none, or where it is somebody else's session. */
  get token () {
    this.#readPage()
    return this.#stranger === undefined ? this.#token : ''
  }

  /**
   * Asks the server for a new token. Calls that overlap share one request.
   * @returns {Promise<string>}  The new token; empty if this is somebody else's session now.
   * @throws {CSRFRefreshError}
   */
  refresh () {
    if (!this.#flight) {
      const flight = this.#refresh().finally(() => {
        if (this.#flight === flight) this.#flight = undefined
      })
      this.#flight = flight
    }
    return this.#flight
  }

  // -- Freshness

  #begin () {
    this.#readPage()
    if (this.#isFresh() && this.#subject !== undefined) this.#schedule()
    else this.#refreshQuietly()
  }

  /**
   * Takes over what the page carries: its own token at first, later that of a page that a
   * library has swapped in. A token that we had before is an old copy, not news.
   */
  #readPage () {
    const meta = metaElement()
    const token = meta?.content
    if (!meta || !token || this.#issued.has(token)) return
    const isFirst = this.#issued.size === 0
    const subject = meta.dataset.subject
    if (subject) {
      this.#subject = subject
      this.#stranger = undefined
    }
    const seconds = Number(setting('expiresIn'))
    this.#keep(token, seconds, isFirst ? renderedAt() : Date.now())
  }

  /**
   * @param {string} token
   * @param {number} seconds
   * @param {number} since
   */
  #keep (token, seconds, since) {
    this.#token = token
    this.#issued.add(token)
    this.#lifetime = seconds * 1000
    this.#expiresAt = since + this.#lifetime
    this.#expiryTold = false
  }

  #isFresh () {
    return this.token !== '' && Date.now() < this.#expiresAt
  }

  async #refresh () {
    const life = this.#life
    this.#readPage()
    this.#attemptedAt = Date.now()
    try {
      const grant = await requestGrant()
      if (life?.signal.aborted) return ''
      this.#failures = 0
      this.#retryAt = 0
      this.#accept(grant)
      return this.token
    } catch (error) {
      this.#backOff(error)
      throw error
    } finally {
      if (life === this.#life) this.#schedule()
    }
  }

  /** @param {unknown} error */
  #backOff (error) {
    this.#failures += 1
    const longest = Math.min(this.#interval, FIRST_BACK_OFF * 2 ** (this.#failures - 1))
    const asked = error instanceof CSRFRefreshError && error.response?.headers.get('Retry-After')
    // Half of it at random, or every page would come back to a restarted server at once.
    const wait = Math.max(longest * (0.5 + Math.random() / 2), Number(asked) * 1000 || 0)
    this.#retryAt = Date.now() + Math.min(wait, this.#interval)
  }

  #schedule () {
    clearTimeout(this.#timer)
    if (!this.#life) return
    const regular = Math.min(this.#interval, Math.max(SOONEST_REFRESH, this.#lifetime * 0.8))
    const wait = this.#failures ? this.#retryAt - Date.now() : regular
    this.#timer = setTimeout(() => this.#refreshQuietly(), wait)
  }

  /** The page is looked at again, or the network is back: whatever timers say, ask now. */
  #wake () {
    if (Math.abs(Date.now() - this.#attemptedAt) >= CALM) this.#refreshQuietly()
  }

  async #refreshQuietly () {
    this.#tellExpiry()
    await this.refresh().catch(() => {})
  }

  #tellExpiry () {
    if (!this.token || this.#isFresh() || this.#expiryTold) return
    this.#expiryTold = true
    this.#emit('csrf:expired', {})
  }

  /**
   * Puts a token in place if it belongs to the person this page was made for.
   * @param {Grant} grant
   * @returns {boolean}
   */
  #accept (grant) {
    this.#subject ??= grant.subject
    if (grant.subject !== this.#subject && !this.#isTakenOver(grant.subject)) return false
    this.#stranger = undefined
    this.#keep(grant.csrf_token, grant.expires_in ?? Infinity, Date.now())
    const meta = metaElement()
    if (meta) meta.content = grant.csrf_token
    this.#renewFields()
    this.#emit('csrf:refreshed', { expires_in: grant.expires_in })
    return true
  }

  /**
   * Another subject's token in this page would send one person's form as another person.
   * @param {string} subject
   */
  #isTakenOver (subject) {
    if (subject === this.#stranger) return false
    this.#stranger = subject
    if (this.#emit('session:changed', { subject, previous: this.#subject })) return false
    this.#subject = subject
    return true
  }

  #renewFields () {
    const name = CSS.escape(setting('field'))
    const fields = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(
      `input[type="hidden"][name="${name}"], input[type="hidden"][name$="-${name}"]`
    ))
    for (const field of fields) {
      if (!field.form || destination(field.form).isOwn) field.value = this.#token
    }
  }

  // -- fetch

  /** @param {AbortSignal} signal */
  #patchFetch (signal) {
    patch(window, 'fetch', signal, (_, args, original) => {
      const [input, init] = args
      return concernsUs(input, init) ? this.#fetch(input, init, original) : original(...args)
    })
  }

  /**
   * @param {RequestInfo | URL} input
   * @param {RequestInit | undefined} init
   * @param {typeof fetch} original
   */
  async #fetch (input, init, original) {
    const asked = new Request(input, init)
    if (!isOwnOrigin(asked.url)) return original(asked)
    // A redirect to another origin would carry the header along, wherever CORS there allows it.
    const request = asked.mode === 'same-origin'
      ? asked
      : new Request(asked, {
        mode: 'same-origin', referrer: asked.referrer, referrerPolicy: asked.referrerPolicy
      })
    const header = setting('header')
    if (request.headers.has(header)) return original(request)

    // A page that is being left waits for nothing.
    if (!request.keepalive) await this.#freshen()
    // The first attempt uses the body up; a stream would have to be kept in memory whole.
    const again = init?.body instanceof ReadableStream ? undefined : request.clone()
    if (this.token) request.headers.set(header, this.token)
    const response = await original(request)
    const grant = await readRefusal(response)
    if (!grant) return response
    if (!this.#acceptAfterRefusal(grant) || !again) {
      this.#emit('csrf:failed', { reason: this.#whyRefused(), response })
      return response
    }

    again.headers.set(header, this.token)
    const second = await original(again)
    if (await readRefusal(second)) this.#emit('csrf:failed', { reason: REFUSED, response: second })
    return second
  }

  /** Before a request of the page: a new token if this one ran out and the server may be asked. */
  async #freshen () {
    if (this.#isFresh() || Date.now() < this.#retryAt) return
    await this.#refreshQuietly()
  }

  /**
   * A refusal tells who is signed in now, never for whom the page was made: where that is not
   * known yet, nothing is sent again.
   * @param {Grant} grant
   */
  #acceptAfterRefusal (grant) {
    return this.#subject !== undefined && this.#accept(grant)
  }

  #whyRefused () {
    return this.#stranger === undefined ? REFUSED : SESSION_CHANGED
  }

  // -- XMLHttpRequest

  /** @param {AbortSignal} signal */
  #patchXHR (signal) {
    /** @type {WeakMap<XMLHttpRequest, { concernsUs: boolean, hasHeader: boolean }>} */
    const opened = new WeakMap()
    const xhr = XMLHttpRequest.prototype

    patch(xhr, 'open', signal, (request, args, original) => {
      original(...args)
      const [method, url] = args
      opened.set(request, { concernsUs: isUnsafe(method) && isOwnOrigin(url), hasHeader: false })
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

  /**
   * An XMLHttpRequest cannot be sent again behind its caller's back, but the next one can be right.
   * @param {XMLHttpRequest} request
   */
  #onLoad (request) {
    if (request.status !== 400 || !isOwnOrigin(request.responseURL)) return
    const grant = asGrant(bodyOf(request))
    if (!grant) return
    this.#acceptAfterRefusal(grant)
    this.#emit('csrf:failed', { reason: this.#whyRefused() })
  }

  // -- Forms

  /** @param {SubmitEvent} event */
  #onSubmit (event) {
    const form = event.target
    // A made-up submit event sends nothing, so there is nothing to hold.
    if (!event.isTrusted || !(form instanceof HTMLFormElement)) return
    const { isOwn, isPost } = destination(form, event.submitter)
    if (isOwn && isPost && form !== this.#released && !this.#hasToken(form)) {
      event.preventDefault()
      event.stopImmediatePropagation()
      this.#holdForm(form, event.submitter)
      return
    }
    // formdata, which follows at once, does not say which button was pressed.
    this.#submits.set(form, event)
    setTimeout(() => this.#submits.delete(form))
  }

  /**
   * Whether a form can go now. Where the page names no token, the form's own field is believed
   * for as long as a token lives.
   * @param {HTMLFormElement} form
   */
  #hasToken (form) {
    if (this.#isFresh()) return true
    if (this.#issued.size > 0 || this.#stranger !== undefined) return false
    const field = fieldOf(form, setting('field'))
    return !!field?.value && Date.now() < renderedAt() + Number(setting('expiresIn')) * 1000
  }

  /**
   * @param {HTMLFormElement} form
   * @param {HTMLElement | null} submitter
   */
  async #holdForm (form, submitter) {
    if (this.#held.has(form)) return
    this.#held.add(form)
    this.#notice?.remove()
    this.#tellExpiry()
    Element.prototype.setAttribute.call(form, 'aria-busy', 'true')
    const life = this.#life
    const token = await this.refresh().catch(() => '')
    Element.prototype.removeAttribute.call(form, 'aria-busy')
    this.#held.delete(form)
    if (token || life?.signal.aborted) this.#release(form, submitter)
    else this.#giveBack(form)
  }

  /**
   * @param {HTMLFormElement} form
   * @param {HTMLElement | null} submitter
   */
  #release (form, submitter) {
    const isButton = submitter instanceof HTMLButtonElement || submitter instanceof HTMLInputElement
    this.#released = form
    // By the prototype: a field may be named requestSubmit.
    HTMLFormElement.prototype.requestSubmit.call(
      form, isButton && submitter.form === form ? submitter : null
    )
    this.#released = undefined
  }

  /** @param {HTMLFormElement} form */
  #giveBack (form) {
    const reason = this.#stranger === undefined ? REFRESH_FAILED : SESSION_CHANGED
    if (!this.#emit('csrf:failed', { reason, form })) return
    const notice = document.createElement('div')
    notice.className = 'holdfast-notice'
    notice.setAttribute('role', 'alert')
    const text = document.createElement('p')
    text.textContent = MESSAGES[reason]
    const dismiss = document.createElement('button')
    dismiss.type = 'button'
    dismiss.textContent = 'Dismiss'
    dismiss.addEventListener('click', () => notice.remove())
    notice.append(text, dismiss)
    this.#notice = notice
    Element.prototype.before.call(form, notice)
  }

  /**
   * Runs for every way in which a form's data is gathered, form.submit() included.
   * @param {FormDataEvent} event
   */
  #onFormData (event) {
    const form = event.target
    if (!(form instanceof HTMLFormElement)) return
    const submit = this.#submits.get(form)
    this.#submits.delete(form)
    // The button counts only if this data is gathered by that very submission: a handler that
    // cancels it, or calls form.submit() in its midst, sends the form to its own action.
    const isThatOne = submit && !submit.defaultPrevented && submit.eventPhase === Event.NONE
    const { isOwn, isPost } = destination(form, isThatOne ? submit.submitter : null)
    const field = setting('field')
    if (!isOwn) this.#withhold(event.formData)
    else if (isPost && this.token) event.formData.set(field, this.token)
  }

  /**
   * A field with our token in a form that leads to another origin, by formaction perhaps.
   * @param {FormData} data
   */
  #withhold (data) {
    this.#readPage()
    for (const [name, value] of [...data]) {
      if (typeof value === 'string' && this.#issued.has(value)) data.delete(name)
    }
  }

  /**
   * @param {string} type
   * @param {object} detail
   * @returns {boolean} Whether nobody called preventDefault().
   */
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

/**
 * Read at each use: libraries swap heads, and scripts may run before the meta element is there.
 * @param {keyof typeof DEFAULTS} name
 */
function setting (name) {
  return metaElement()?.dataset[name] || DEFAULTS[name]
}

/**
 * When the page was made, at the latest; a page from the browser's cache may be of any age.
 * @returns {number}
 */
function renderedAt () {
  const [entry] = performance.getEntriesByType('navigation')
  const isOldCopy = entry instanceof PerformanceNavigationTiming &&
    (entry.type === 'back_forward' || entry.transferSize === 0)
  return isOldCopy ? -Infinity : Date.now() - performance.now()
}

/** @param {unknown} method */
function isUnsafe (method) {
  return !SAFE_METHODS.includes(String(method).toUpperCase())
}

/**
 * Judges the address that the browser will use, never its spelling: "//host", "\\host", other
 * ports, capitals and tabs all mean what the URL parser makes of them. A sandboxed page, whose
 * origin is "null", has no origin of its own.
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

/**
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 */
function concernsUs (input, init) {
  const isRequest = input instanceof Request
  const method = init?.method ?? (isRequest ? input.method : 'GET')
  return isUnsafe(method) && isOwnOrigin(isRequest ? input.url : input)
}

/**
 * Where a form leads, as the HTML standard has it. Attributes are read through the prototype: a
 * field named "action" or "getAttribute" hides the form's own.
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} [submitter]
 */
function destination (form, submitter) {
  const own = (/** @type {string} */ name) => Element.prototype.getAttribute.call(form, name)
  const action = submitter?.getAttribute('formaction') ?? own('action')
  const method = submitter?.getAttribute('formmethod') ?? own('method')
  return { isOwn: isOwnOrigin(action || document.URL), isPost: method?.toLowerCase() === 'post' }
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {HTMLInputElement | null}
 */
function fieldOf (form, name) {
  const field = Element.prototype.querySelector.call(form, `[name="${CSS.escape(name)}"]`)
  return field instanceof HTMLInputElement ? field : null
}

/**
 * @returns {Promise<Grant>}
 * @throws {CSRFRefreshError}
 */
async function requestGrant () {
  const url = setting('refreshUrl')
  if (!isOwnOrigin(url)) throw new CSRFRefreshError('The refresh address is of another origin.')
  let response
  try {
    response = await fetch(url, {
      mode: 'same-origin',
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
      headers: { Accept: 'application/json' },
      signal: AbortSignal.timeout(ANSWER_WITHIN)
    })
  } catch (cause) {
    throw new CSRFRefreshError('The server was not reached.', { cause })
  }
  const grant = response.ok && asGrant(await response.json().catch(() => null))
  if (!grant) throw new CSRFRefreshError('The server did not answer with a token.', { response })
  return grant
}

/**
 * The fresh token in a refusal of ours; null for every other answer, which is left unread.
 * @param {Response} response
 * @returns {Promise<Grant | null>}
 */
async function readRefusal (response) {
  const type = response.headers.get('Content-Type') ?? ''
  if (response.status !== 400 || !type.includes('json')) return null
  return asGrant(await response.clone().json().catch(() => null))
}

/** @param {XMLHttpRequest} request */
function bodyOf (request) {
  if (request.responseType === 'json') return request.response
  if (request.responseType !== '' && request.responseType !== 'text') return null
  try {
    return JSON.parse(request.responseText)
  } catch {
    return null
  }
}

/**
 * @param {any} body
 * @returns {Grant | null}
 */
function asGrant (body) {
  const isGrant = /^[\x21-\x7e]+$/.test(body?.csrf_token) && typeof body.csrf_token === 'string' &&
    (typeof body.expires_in === 'number' || body.expires_in === null) &&
    typeof body.subject === 'string'
  return isGrant ? body : null
}

/**
 * Puts a function in a method's place until the signal aborts. Whoever has wrapped ours by then
 * keeps it, so after the abort it passes everything on.
 * @param {any} target
 * @param {string} name
 * @param {AbortSignal} signal
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
