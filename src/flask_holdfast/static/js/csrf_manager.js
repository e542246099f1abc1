// @ts-check

/**
 * CSRFManager keeps the CSRF token of a page fresh and gives it to every unsafe request that the
 * page makes to its own origin: fetch, XMLHttpRequest, sendBeacon, forms. Importing does nothing;
 * `new CSRFManager().start()` does, and `stop()` undoes it. Pages that want one line load
 * `csrf_manager.auto.js`. The page says where things are (the values are the defaults):
 *
 *   <meta name="csrf-token" content="TOKEN" data-refresh-url="/session/csrf-token"
 *     data-header="X-CSRFToken" data-field="csrf_token" data-expires-in="1800" data-subject=""
 *     data-words='{"sending": "Sending…"}'>
 *
 * The refresh address answers {csrf_token, expires_in, subject}; a refused request is answered
 * 400 with the same three and a reason. `subject` is a fingerprint of who is signed in. A page
 * acts only for the person it was made for: when the subject differs it uses no token, sends
 * nothing again, and says `session:changed`. Without data-subject the server's first answer
 * stands for the page's person, and is asked for at start.
 *
 * The tabs of a browser refresh together: what one is answered all hear. The texts that a person
 * reads are replaced by data-words, JSON with any keys of WORDS in csrf_forms.js.
 *
 * A token never goes to another origin, with two exceptions that no script can prevent: a redirect
 * from our own origin to another one takes it along, any redirect of an XMLHttpRequest and a 307 or
 * 308 of a form, so there the server must not redirect; and a script of the page may read it, from
 * a hidden field for one, and send it anywhere. fetch and beacons are kept by mode "same-origin".
 * form.submit() cannot be held, and a request that is sent by XMLHttpRequest is never sent again.
 *
 * Events, on the manager and on document:
 *   csrf:refreshed   {expires_in}  a new token is in place
 *   csrf:expired     {}  the token ran out before a new one could be had
 *   csrf:failed      {reason, form?, response?}  something was not sent, or refused for good;
 *                    preventDefault() leaves out the built-in message at a form
 *   session:changed  {subject, previous}  somebody else is signed in, or nobody;
 *                    preventDefault() says that the page knows and goes on as them
 */

import { Forms } from './csrf_forms.js'
import { requestGrant } from './csrf_grant.js'
import {
  asGrant, isInPage, metaElements, metaToken, pageTimes, said, setting, tokenFields
} from './csrf_page.js'
import { patchRequests } from './csrf_requests.js'
import { Tabs, alone } from './csrf_tabs.js'
import { page } from './unclobbered.js'

export { CSRFRefreshError } from './csrf_grant.js'

/** The one manager that runs in a window, whichever copy of this file it came from. */
const RUNNING = Symbol.for('flask_holdfast.csrf_manager')

/** Reason of csrf:failed, whatever else it would be. */
const SESSION_CHANGED = 'session_changed'

/** Milliseconds. Wake-ups that come together (visible, restored, online) make one refresh. */
const CALM = 1_000
const FIRST_BACK_OFF = 10_000
/** The shortest time between refreshes. The clock is looked at as often: timers, unlike it, sleep
 * with the machine. */
const BEAT = 30_000
/** How much later than the tab that was answered the others ask, should that one be gone. */
const AFTER_OTHERS = 5_000

/** @typedef {import('./csrf_page.js').Grant} Grant */

export class CSRFManager extends EventTarget {
  #interval
  #words
  /** @type {AbortController | undefined} While it runs: ends every listener and patch. */
  #life
  /** @type {Tabs | undefined} */
  #tabs
  /** @type {import('./csrf_page.js').Keeper | undefined} For requests and forms. */
  #keeper
  #token = ''
  #lifetime = Infinity
  #expiryTold = false
  /** Every token this page has had: to know our own when it would leave. */
  #issued = new Set()
  /** @type {string | undefined} The person this page was made for. */
  #subject
  /** @type {string | undefined} Who is signed in instead. */
  #stranger
  /** When the newest answer that we know of was asked for; all times are by Date.now(). */
  #askedAt = -Infinity
  /** When it had been given, at the latest. */
  #knownAt = -Infinity
  /** @type {Promise<string> | undefined} The refresh under way. */
  #flight
  #attemptedAt = 0
  #retryAt = 0
  #failures = 0
  #plannedAt = 0
  #dueAt = 0
  #timer = 0

  /**
   * @param {{ interval?: number, words?: Partial<typeof import('./csrf_forms.js').WORDS> }} [options]
   *   Seconds between refreshes; what a person reads.
   */
  constructor ({ interval = 300, words } = {}) {
    super()
    this.#interval = Math.max(BEAT, interval * 1000)
    this.#words = words
  }

  /** Begins, unless one runs in this window already. @returns {CSRFManager} The one that runs. */
  start () {
    if (slot[RUNNING]) return slot[RUNNING]
    slot[RUNNING] = this
    this.#life = new AbortController()
    const { signal } = this.#life
    this.#tabs = new Tabs(channelName(), news => this.#hear(news), signal)
    /** @type {import('./csrf_page.js').Keeper} */
    const keeper = {
      token: () => this.token,
      isFresh: () => this.#isFresh(),
      refresh: () => this.refresh(),
      refreshIfDue: async () => {
        // A server that is away is asked by the timer, not by every request.
        if (!this.#isFresh() && Date.now() >= this.#retryAt) await this.#refreshQuietly()
      },
      // A refusal tells who is signed in now, not for whom the page was made: while that is unknown,
      // nothing is sent again.
      refused: (...answer) => this.#subject !== undefined && this.#take(...answer),
      fail: (...what) => this.#fail(...what),
      isIssued: text => this.#issued.has(text) || isInPage(text),
      isChanged: () => this.#stranger !== undefined
    }
    this.#keeper = keeper
    patchRequests(keeper, signal, window)
    new Forms(keeper, this.#words, signal, window)

    page.addEventListener('visibilitychange', () => this.#wake(), { signal })
    window.addEventListener('pageshow', event => event.persisted && this.#wake(), { signal })
    window.addEventListener('online', () => this.#wake(), { signal })

    const begin = () => this.#isFresh() && this.#subject !== undefined
      ? this.#plan()
      : this.#refreshQuietly()
    if (page.readyState !== 'loading') begin()
    else page.addEventListener('DOMContentLoaded', begin, { signal, once: true })
    return this
  }

  /** Ends everything that start() began. Tokens that have been renewed stay so. */
  stop () {
    if (!this.#life) return
    this.#life.abort()
    this.#life = undefined
    this.#flight = undefined
    clearTimeout(this.#timer)
    delete slot[RUNNING]
  }

  /**
   * Looks after a frame or a window as well that this page has opened and filled by script
   * (about:blank, srcdoc, document.write), until it shows another document: then again. Not where
   * a manager runs. Throws a SecurityError for one of another origin.
   * @param {Window} frame  As `iframe.contentWindow`.
   */
  adopt (frame) {
    const realm = /** @type {Window & typeof globalThis & typeof slot} */ (frame)
    if (!this.#life || !this.#keeper || realm[RUNNING]) return
    const { signal } = this.#life
    realm[RUNNING] = this
    signal.addEventListener('abort', () => { delete realm[RUNNING] })
    patchRequests(this.#keeper, signal, realm)
    new Forms(this.#keeper, this.#words, signal, realm)
  }

  /** The token to send now; empty where there is none, or where the session is another's. */
  get token () {
    this.#readPage()
    return this.#stranger === undefined ? this.#token : ''
  }

  /**
   * Asks the server for a new token; calls that overlap, in other tabs too, share one request.
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
    const token = metaToken() ?? (this.#issued.size ? '' : tokenFields()[0]?.value)
    if (!token || this.#issued.has(token)) return
    const subject = said('subject')
    if (subject) {
      this.#subject = subject
      this.#stranger = undefined
    }
    const now = Date.now()
    const { asked, known } = this.#issued.size ? { asked: now, known: now } : pageTimes()
    this.#askedAt = asked
    this.#knownAt = known
    this.#keep(token, Number(setting('expiresIn')))
  }

  /** @param {string} token @param {number} seconds */
  #keep (token, seconds) {
    this.#token = token
    this.#issued.add(token)
    this.#lifetime = seconds * 1000
    this.#expiryTold = false
  }

  #isFresh () { return this.token !== '' && Date.now() < this.#askedAt + this.#lifetime }

  async #refresh () {
    const life = this.#life
    const since = this.#attemptedAt = Date.now()
    // Unless the clock was set back, it is no later.
    this.#knownAt = Math.min(this.#knownAt, since - 1)
    if (this.token && !this.#isFresh() && !this.#expiryTold) {
      this.#expiryTold = true
      this.#emit('csrf:expired', {})
    }
    await alone(channelName(), async hasWaited => {
      if (hasWaited && this.#knownAt >= since) return
      const askedAt = Date.now()
      const grant = await requestGrant().catch(error => {
        this.#backOff(error)
        throw error
      })
      if (!life?.signal.aborted) this.#take(grant, askedAt)
    })
    return this.token
  }

  #refreshQuietly () { return this.refresh().catch(() => '') }

  /** @param {any} error */
  #backOff (error) {
    const longest = FIRST_BACK_OFF * 2 ** this.#failures++
    const asked = error.response?.headers.get('Retry-After')
    // Half of it by chance, or every page would come to a restarted server at once.
    const wait = Math.max(longest * (0.5 + Math.random() / 2), Number(asked) * 1000 || 0)
    this.#retryAt = Date.now() + Math.min(wait, this.#interval)
    this.#tabs?.tell({ failures: this.#failures, retryAt: this.#retryAt })
    this.#plan()
  }

  /**
   * Sets when to ask next. Those that know by word of mouth ask later, and not all at once.
   * @param {boolean} [wasTold]
   */
  #plan (wasTold) {
    const later = wasTold ? AFTER_OTHERS * (1 + Math.random()) : 0
    const regular = Math.min(this.#interval, Math.max(BEAT, this.#lifetime * 0.8))
    this.#plannedAt = Date.now()
    this.#dueAt = (this.#failures ? this.#retryAt : this.#plannedAt + regular) + later
    this.#tick()
  }

  #tick () {
    clearTimeout(this.#timer)
    if (!this.#life) return
    const now = Date.now()
    // Before it was planned: the clock was set back.
    if (now >= this.#dueAt || now < this.#plannedAt) this.#refreshQuietly()
    else this.#timer = window.setTimeout(() => this.#tick(), Math.min(this.#dueAt - now, BEAT))
  }

  /** The page is looked at again or the network is back: ask now, whatever the timer says. */
  #wake () {
    const isDue = this.#failures || Date.now() - this.#attemptedAt >= CALM
    if (isDue && !page.hidden) this.#refreshQuietly()
  }

  // -- What was answered

  /**
   * Another tab has news. A token is bound to its session, and a login anywhere begins a new one:
   * so an answer counts only if it was asked for after everything that we know. Whose it is, is
   * judged as if we had been answered ourselves; before we know whose page this is, we ask.
   * @param {any} news
   */
  #hear (news) {
    if (Number.isFinite(news?.retryAt)) {
      this.#failures = Math.max(this.#failures, news.failures) || 1
      this.#retryAt = news.retryAt
      return this.#plan(true)
    }
    const grant = asGrant(news)
    this.#readPage()
    if (!grant || this.#subject === undefined || !(news.askedAt >= this.#knownAt)) return
    this.#take(grant, news.askedAt, true)
  }

  /**
   * The server has answered. What was asked for before something that we know came late, and may be
   * of an older session; unless the clock was set back.
   * @param {Grant} grant @param {number} askedAt @param {boolean} [wasTold]
   * @returns {boolean}  Whether there is a token to send.
   */
  #take (grant, askedAt, wasTold) {
    if (!wasTold) this.#tabs?.tell({ ...grant, askedAt })
    this.#failures = this.#retryAt = 0
    const now = this.#attemptedAt = Date.now()
    if (askedAt >= this.#askedAt || now < this.#askedAt) {
      this.#askedAt = askedAt
      this.#knownAt = now
      this.#accept(grant)
    }
    this.#plan(wasTold)
    return this.token !== ''
  }

  /**
   * Puts a token in place, if it belongs to the person this page was made for: with another's,
   * the page would send what one person typed as another person.
   * @param {Grant} grant
   */
  #accept ({ csrf_token: token, expires_in: seconds, subject }) {
    const previous = this.#subject ??= subject
    if (subject !== previous) {
      if (subject === this.#stranger) return
      this.#stranger = subject
      if (this.#emit('session:changed', { subject, previous })) return
      this.#subject = subject
    }
    this.#stranger = undefined
    this.#keep(token, seconds ?? Infinity)
    for (const meta of metaElements()) {
      // Of two that differ neither was believed: whichever was ours stays one that we have had.
      if (meta.content) this.#issued.add(meta.content)
      meta.content = token
    }
    for (const field of tokenFields()) field.value = token
    this.#emit('csrf:refreshed', { expires_in: seconds })
  }

  /** @param {string} reason @param {{ form?: HTMLFormElement, response?: Response }} [about] */
  #fail (reason, about) {
    if (this.#stranger !== undefined) reason = SESSION_CHANGED
    return this.#emit('csrf:failed', { reason, ...about }) ? reason : ''
  }

  /** @param {string} type @param {object} detail @returns {boolean} Nobody prevented it. */
  #emit (type, detail) {
    const init = { detail, cancelable: /failed|changed/.test(type) }
    const here = this.dispatchEvent(new CustomEvent(type, init))
    return page.dispatchEvent(new CustomEvent(type, init)) && here
  }
}

const slot = /** @type {{ [RUNNING]?: CSRFManager }} */ (/** @type {unknown} */ (window))

/** One for each session: applications that share an origin have refresh addresses of their own. */
function channelName () { return 'holdfast-csrf:' + setting('refreshUrl') }
