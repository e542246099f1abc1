// @ts-check

/**
 * SessionClock tells a signed-in person in time that the session is about to end, keeps it alive
 * while they are at work, and covers the page when it has ended: what they typed stays in the page,
 * and when the same person has signed in again in any tab, the page goes on. Importing does
 * nothing; `new SessionClock().start()` does, and `stop()` undoes it. Pages that want one line load
 * `session_clock.auto.js`. The page says where things are, in the element that CSRFManager reads:
 *
 *   <meta name="csrf-token" data-status-url="/session/status"
 *     data-keep-alive-url="/session/keep-alive" data-sign-in-url="" data-sign-out-url=""
 *     data-subject="" data-authenticated="true"
 *     data-idle-expires-in="1800" data-absolute-expires-in="86400">
 *
 * Both addresses answer {authenticated, idle_expires_in, absolute_expires_in, subject}: seconds,
 * null for never. Without data-authenticated the server is asked at start. A page for which nobody
 * is signed in is left alone. Where there is no data-sign-in-url, this page itself is opened in
 * another tab, for that leads to the sign-in; without data-sign-out-url nothing offers to sign out.
 *
 * Only the server's count is believed. It is asked when a warning or an end is due, and when the
 * page is looked at again; it is never asked because time passes, and asking keeps nothing alive.
 * What keeps a session alive is a POST to the second address, sent when a person presses a key,
 * clicks, types or turns the wheel, at most once in a twentieth of the idle time. Tabs tell each
 * other, so activity in one counts for all.
 *
 * A page that the browser kept (back/forward cache) shows nothing after Back until the server has
 * said that its person is still signed in: somebody may have signed out since. Without an answer,
 * offline too, it stays covered. A sign-out in one window is told to the others, at once where a
 * form was sent to data-sign-out-url or a page with a clock was opened by it; a page on which nobody
 * is signed in counts as one. They then show nothing either until the server has answered.
 *
 * The cover keeps an onlooker from reading what is on an unattended screen. It does not take the
 * page out of the memory of a browser that somebody else controls.
 *
 * Events, on the clock and on document:
 *   session:warning  {reason, expires_in}  the end is near: `idle`, and staying is possible, or
 *                    `absolute`, and it is not; preventDefault() leaves out the built-in dialog
 *   session:ended    {reason}  `ended`, `changed` (somebody else is signed in now) or `unreached`
 *                    (the time is up, or the page was left meanwhile, and the server cannot be
 *                    asked); preventDefault() leaves out the built-in cover
 *   session:resumed  {}  what was warned of or ended goes on
 */

import { CSRFManager } from './csrf_manager.js'
import { destination, ownAddress, said } from './csrf_page.js'
import { Tabs, alone } from './csrf_tabs.js'
import { SessionScreen } from './session_screen.js'
import { StatusClient, statusUrl } from './session_status.js'
import { page } from './unclobbered.js'

/** The one clock that runs in a window, whichever copy of this file it came from. */
const RUNNING = Symbol.for('flask_holdfast.session_clock')

/** Reasons of session:warning and session:ended. */
const IDLE = 'idle'
const ABSOLUTE = 'absolute'
const ENDED = 'ended'
const CHANGED = 'changed'
const UNREACHED = 'unreached'

/** What a person does. A submit is none of it: scripts send forms as well. */
const ACTS = ['keydown', 'pointerdown', 'click', 'input', 'wheel']
const SHARE_OF_IDLE = 1 / 20

/** Milliseconds. */
const SECOND = 1_000
const HEARTBEAT = 10_000
const JUST_NOW = 5_000
const WORD_OF_MOUTH = 50

/**
 * The ends of a session, by Date.now().
 * @typedef {{ idleEnd: number, absoluteEnd: number }} Ends
 *
 * @typedef {object} Options
 * @property {number} [warnBefore]  How many seconds before an idle end to warn; never earlier than
 *   at half of the idle time.
 * @property {number} [warnBeforeAbsolute]  The same for an end that nothing can put off.
 * @property {SessionScreen} [screen]  What the person sees.
 */

/**
 * What the ends mean at `now`. That staying is impossible is told when the absolute end is near,
 * but not while the idle end comes first and can still be put off until then.
 * @param {Ends} ends @param {number} now @param {{ idle: number, absolute: number }} leads
 * @returns {{ reason: 'idle' | 'absolute' | null, left: number }}  `left` in milliseconds.
 */
export function judge ({ idleEnd, absoluteEnd }, now, leads) {
  const left = Math.min(idleEnd, absoluteEnd) - now
  const canStay = absoluteEnd - idleEnd > JUST_NOW
  if (canStay && idleEnd - now <= leads.idle) return { reason: IDLE, left }
  if (absoluteEnd - now <= leads.absolute) return { reason: ABSOLUTE, left }
  return { reason: null, left }
}

export class SessionClock extends EventTarget {
  #warnBefore
  #warnBeforeAbsolute
  #screen
  #client = new StatusClient()
  /** @type {CSRFManager | undefined} */
  #manager
  #ownsManager = false
  /** @type {AbortController | undefined} While it runs: ends every listener. */
  #life
  /** @type {Tabs | undefined} */
  #tabs
  #timer = 0

  /** @type {string | undefined} What the page said last of whose it is. */
  #page
  /** @type {string | undefined} The person whom this page is for. */
  #subject
  /** @type {Ends | undefined} While that person is signed in, as far as is known. */
  #ends
  /** The whole idle time: the longest that was ever left of it. */
  #idle = 0
  /** When the server was heard last, by this tab or another. */
  #knownAt = -Infinity
  #drift = drift()
  /** When it was last asked because the window got the focus. */
  #focusedAt = -Infinity

  /** @type {'idle' | 'absolute' | undefined} */
  #warned
  /** @type {'ended' | 'changed' | 'unreached' | undefined} */
  #over
  /** Whether the server has yet to say so. */
  #isUnsure = false
  /** Whether the page is hidden until the server has said that its person is still signed in. */
  #isInDoubt = false
  /** Whether a form that signs out is on its way. */
  #isSigningOut = false
  /** @type {Promise<void> | undefined} The question under way. */
  #flight
  /** What another tab was told is an answer to it, if that was asked for from then on. */
  #newsSince = Infinity
  /** @type {Window | null | undefined} Where the person signs in again. */
  #signInTab
  /** When that arrived at a page: closed at once it takes nothing along that was typed there. */
  #arrivedAt = -Infinity
  /** When the server was last told that the person is here, whatever it said. */
  #toldAt = -Infinity
  /** @type {HTMLFormElement | undefined} */
  #signOutForm
  /** Whether the other tabs have heard of this page. */
  #isHeardOf = false

  /** @param {Options} [options] */
  constructor ({ warnBefore = 120, warnBeforeAbsolute = 300, screen } = {}) {
    super()
    this.#warnBefore = warnBefore * SECOND
    this.#warnBeforeAbsolute = warnBeforeAbsolute * SECOND
    this.#screen = screen ?? new SessionScreen()
  }

  /** Begins, unless one runs in this window already. @returns {SessionClock} The one that runs. */
  start () {
    const running = slot[RUNNING]
    if (running) return running
    slot[RUNNING] = this
    const manager = new CSRFManager()
    this.#manager = manager.start()
    this.#ownsManager = this.#manager === manager
    this.#life = new AbortController()
    const { signal } = this.#life

    const quietly = { signal, capture: true, passive: true }
    for (const act of ACTS) window.addEventListener(act, event => this.#onAct(event), quietly)
    page.addEventListener('session:changed', event => this.#onChanged(event), { signal })
    page.addEventListener('csrf:failed', event => this.#onFailed(event), { signal })
    page.addEventListener('visibilitychange', () => this.#wake(), { signal })
    window.addEventListener('focus', () => this.#onFocus(), { signal })
    window.addEventListener('online', () => this.#wake(), { signal })
    window.addEventListener('pageshow', event => event.persisted && this.#onRestored(), { signal })
    for (const sending of ['submit', 'formdata']) { // form.submit() makes no submit event
      window.addEventListener(sending, event => this.#onSending(event), quietly)
    }
    // Before the tabs part, which do so at the same event.
    window.addEventListener('pagehide', event => this.#onLeft(event), { signal })
    this.#tabs = new Tabs('holdfast-session:' + statusUrl(), news => this.#onNews(news), signal)

    const begin = () => this.#tick()
    if (page.readyState !== 'loading') begin()
    else page.addEventListener('DOMContentLoaded', begin, { signal, once: true })
    return this
  }

  /** Ends everything that start() began, a CSRFManager that it started included. */
  stop () {
    if (!this.#life) return
    this.#life.abort()
    this.#life = undefined
    this.#flight = undefined
    clearTimeout(this.#timer)
    if (this.#ownsManager) this.#manager?.stop()
    this.#screen.clear()
    this.#page = undefined // read anew at another start
    delete slot[RUNNING]
  }

  /** Seconds until the session ends, by the server's last word; null where that is not known. */
  get expiresIn () {
    if (!this.#ends) return null
    const left = Math.min(this.#ends.idleEnd, this.#ends.absoluteEnd) - Date.now()
    return left === Infinity ? null : Math.max(0, left / SECOND)
  }

  /** The person wants to stay. Resolves when the server has been told, or was not reached. */
  async stay () {
    const isReached = this.#keepAlive()
    this.#withdraw()
    if (!await isReached && !this.#over) this.#screen.note('unreached')
  }

  /** The person wants to leave: a form is sent to data-sign-out-url. Throws where there is none. */
  signOut () {
    const action = said('signOutUrl')
    if (!action) throw new Error('No data-sign-out-url (sign_out_url of holdfast_scripts)')
    const form = this.#signOutForm ??= page.createElement('form')
    form.method = 'post'
    form.action = ownAddress(action)
    form.hidden = true
    if (!form.isConnected) page.body.append(form)
    form.requestSubmit()
  }

  /** Asks the server how things stand; calls that overlap share one question. */
  check () {
    this.#newsSince = Date.now()
    const flight = this.#flight ?? this.#ask().finally(() => {
      if (this.#flight === flight) this.#flight = undefined
      this.#tick()
    })
    this.#flight = flight
    return flight
  }

  // -- What is due

  #tick () {
    clearTimeout(this.#timer)
    if (!this.#life) return
    this.#readPage()
    this.#noticeClockSetBack()
    let wait = SECOND
    try {
      wait = this.#look()
    } finally { // a screen of the page's own may throw
      this.#timer = window.setTimeout(() => this.#tick(), wait)
    }
  }

  /** Does what is due. @returns {number} Milliseconds until it is worth looking again. */
  #look () {
    if (this.#over || !this.#ends) {
      const isUnknown = this.#over ? this.#isUnsure : this.#knownAt === -Infinity
      if (isUnknown) this.#askIfDue()
      return isUnknown ? SECOND : HEARTBEAT
    }
    if (this.#client.isAway) this.#askIfDue()
    const now = Date.now()
    const { idleEnd, absoluteEnd } = this.#ends
    const leads = {
      idle: Math.min(this.#warnBefore, this.#idle / 2), absolute: this.#warnBeforeAbsolute
    }
    const { reason, left } = judge(this.#ends, now, leads)
    if (left <= 0) {
      // Covered first and asked then: an unattended screen may have slept for hours.
      this.#end(ENDED, { isUnsure: true })
      this.#askIfDue()
      return SECOND
    }
    if (reason === null) {
      this.#withdraw()
      const due = Math.min(idleEnd - leads.idle, absoluteEnd - leads.absolute) - now
      return Math.max(SECOND, Math.min(HEARTBEAT, due))
    }
    if (this.#warned !== reason) {
      const isKnown = now - this.#knownAt < JUST_NOW || now < this.#client.retryAt
      if (!isKnown) {
        this.#askIfDue()
        return SECOND
      }
      this.#warn(reason, left)
    }
    this.#screen.count(left)
    return left % SECOND || SECOND // the next whole second, so that none is left out
  }

  /** A clock that was set back would keep an ended session on the screen. */
  #noticeClockSetBack () {
    const back = this.#drift - drift()
    this.#drift -= back
    if (back < JUST_NOW || !this.#ends) return
    const { idleEnd, absoluteEnd } = this.#ends
    this.#ends = { idleEnd: idleEnd - back, absoluteEnd: absoluteEnd - back }
    this.#knownAt -= back
    this.#client.retryAt = 0
    this.#toldAt = -Infinity
  }

  // -- What is known

  /** Takes over what the page says of its person, at first and when a library swaps pages. */
  #readPage () {
    const whose = said('subject') ?? ''
    if (whose === this.#page) return
    const isFirst = this.#page === undefined
    const answered = isFirst ? answeredAt() : undefined
    this.#page = whose
    this.#subject = whose || undefined
    this.#ends = undefined
    this.#knownAt = -Infinity
    this.#uncover()
    const idle = said('idleExpiresIn')
    if (said('authenticated') === 'false') {
      this.#knownAt = Date.now()
      if (!isFirst || !isFromHistory()) this.#tellOfEnd()
    }
    if (said('authenticated') !== 'true') return
    if (isFirst && isFromHistory()) return this.#doubt()
    if (!idle || !answered) return
    this.#take(Number(idle), Number(said('absoluteExpiresIn') || Infinity), answered)
  }

  /** Whether the page was made for somebody who was signed in. */
  #isPersonal () {
    return Boolean(this.#ends || this.#over) || said('authenticated') === 'true'
  }

  /** @param {number} idle @param {number} absolute @param {number} since  When they were counted. */
  #take (idle, absolute, since) {
    if (idle < Infinity) this.#idle = Math.max(this.#idle, idle * SECOND)
    this.#ends = { idleEnd: since + idle * SECOND, absoluteEnd: since + absolute * SECOND }
    this.#knownAt = Date.now()
    this.#reveal()
    this.#tell()
  }

  #askIfDue () {
    if (this.#flight || Date.now() < this.#client.retryAt) return
    this.check()
    // The clocks of all tabs come to this in the same moment, one of them first.
    this.#newsSince -= JUST_NOW
  }

  /** Whatever was known is out of date. */
  #askAgain () {
    this.#client.retryAt = 0
    this.#knownAt = -Infinity
    this.check()
  }

  /** One question for all tabs: who has waited for another's answer hears it in a moment. */
  async #ask () {
    const life = this.#life
    const isHeard = () => this.#ends && !this.#over && this.#knownAt >= this.#newsSince
    await alone('holdfast-session:' + statusUrl(), async hasWaited => {
      if (hasWaited && !isHeard()) await pause(WORD_OF_MOUTH)
      if ((hasWaited && isHeard()) || life?.signal.aborted) return
      await this.#accept(await this.#client.ask())
    })
  }

  /**
   * The person is here. Time for which the server cannot be asked is not held against them: whether
   * the session has lived on is its to say when it is back.
   * @returns {Promise<boolean>}  Whether the server was reached.
   */
  async #keepAlive () {
    if (this.#ends && this.#idle) {
      const { absoluteEnd } = this.#ends
      this.#ends = { idleEnd: Math.min(Date.now() + this.#idle, absoluteEnd), absoluteEnd }
    }
    this.#toldAt = Date.now()
    const answer = await this.#client.keepAlive()
    await this.#accept(answer)
    if (!answer && this.#client.lastRefusal) this.#askAgain()
    this.#tick()
    return Boolean(answer)
  }

  /** @param {import('./session_status.js').Answer | null} answer */
  async #accept (answer) {
    if (!this.#life) return
    if (!answer) {
      if (this.#isUnsure || this.#isInDoubt) this.#end(UNREACHED, { isUnsure: true })
      return
    }
    this.#screen.note('')
    const { since, status: { authenticated, subject, ...seconds } } = answer
    this.#subject ??= subject
    if (subject !== this.#subject && this.#isPersonal()) {
      return this.#end(authenticated ? CHANGED : ENDED)
    }
    if (subject !== this.#subject || !authenticated) {
      // Nobody was signed in when the page was made: there is nothing to watch.
      this.#ends = undefined
      this.#knownAt = Date.now()
      return
    }
    const idle = seconds.idle_expires_in ?? Infinity
    const absolute = seconds.absolute_expires_in ?? Infinity
    if (this.#over) {
      const left = Math.min(idle, absolute) * SECOND
      if (left < JUST_NOW) this.#client.retryAt = Date.now() + left // not worth a flicker
      if (left < JUST_NOW || !(await this.#resume())) return
    }
    this.#take(idle, absolute, since)
  }

  /** Somebody else is signed in, says the manager, or nobody. @param {Event} event */
  async #onChanged (event) {
    await undefined // until every listener has had its say
    if (event.defaultPrevented) {
      // The page knows, and goes on as them.
      this.#subject = /** @type {CustomEvent} */ (event).detail.subject
      this.#ends = undefined
      this.#askAgain()
    } else {
      this.#doubt()
    }
  }

  /** Nobody would see a message at the form that signs out. @param {Event} event */
  #onFailed (event) {
    const { form } = /** @type {CustomEvent} */ (event).detail
    if (!form || form !== this.#signOutForm) return
    event.preventDefault()
    form.remove()
    this.#screen.note('unreached')
  }

  /** The browser kept the page, which has heard nothing since it was left. */
  #onRestored () {
    this.#tick()
    this.#doubt()
  }

  /** @param {PageTransitionEvent} event */
  #onLeft (event) {
    // The answer to the form has come, or the page would not be left.
    if (this.#isSigningOut) this.#tellOfEnd()
    this.#isSigningOut = false
    // Kept like this, no frame of it is painted before `#onRestored`.
    if (event.persisted && this.#isPersonal()) this.#screen.hide?.()
  }

  /** @param {Event} event */
  #onSending (event) {
    const { target: form, submitter } = /** @type {SubmitEvent} */ (event)
    const url = said('signOutUrl')
    if (!url || !(form instanceof HTMLFormElement)) return
    if (destination(form, submitter).url === ownAddress(url)) this.#isSigningOut = true
  }

  /** The page is looked at again or the network is back. */
  #wake () {
    if (page.visibilityState !== 'visible') return
    this.#tick()
    // Whether somebody else is signed in now, or nobody, the manager asks for both.
    if (this.#over || this.#warned) this.#askAgain()
  }

  /**
   * Of two windows side by side each is visible all the time, so the manager does not ask. An iframe
   * gives the focus back often.
   */
  #onFocus () {
    this.#wake()
    const now = Date.now()
    if (!this.#ends || now - this.#focusedAt < HEARTBEAT) return
    this.#focusedAt = now
    this.#manager?.refresh().catch(() => '')
  }

  // -- The person

  /** @param {Event} event */
  #onAct (event) {
    // Of an idle end that is near the person is asked in so many words.
    if (!event.isTrusted || !this.#ends || this.#warned === IDLE || this.#over) return
    const { idleEnd, absoluteEnd } = this.#ends
    const now = Date.now()
    const slidAgo = Math.min(this.#idle - (idleEnd - now), now - this.#toldAt)
    const isFutile = absoluteEnd - idleEnd <= JUST_NOW || now < this.#client.retryAt
    if (!isFutile && slidAgo >= this.#idle * SHARE_OF_IDLE) this.#keepAlive()
  }

  /** @param {'idle' | 'absolute'} reason @param {number} left */
  #warn (reason, left) {
    this.#warned = reason
    this.#screen.clear()
    if (!this.#emit('session:warning', { reason, expires_in: Math.ceil(left / SECOND) })) return
    const signOut = said('signOutUrl') ? () => this.signOut() : undefined
    this.#screen.warn(reason, left, { stay: () => { this.stay() }, signOut })
  }

  #withdraw () {
    if (!this.#warned) return
    this.#warned = undefined
    this.#screen.clear()
    this.#emit('session:resumed', {})
  }

  /**
   * Whether this page's person is still signed in is open. Nothing is shown until the server has
   * said so: somebody else may sit here by now.
   */
  #doubt () {
    if (!this.#over && this.#isPersonal()) {
      this.#withdraw()
      this.#isInDoubt = true
      if (this.#screen.hide) {
        this.#screen.hide()
        this.#screen.coverSoon('waiting', this.#coverActions())
      } else { // one of the page's own, made before there were these two
        this.#screen.cover('waiting', this.#coverActions())
      }
    }
    this.#askAgain()
  }

  #reveal () {
    if (this.#isInDoubt) this.#screen.clear()
    this.#isInDoubt = false
  }

  /** @param {'ended' | 'changed' | 'unreached'} reason @param {{ isUnsure?: boolean }} [how] */
  #end (reason, { isUnsure = false } = {}) {
    this.#isUnsure = isUnsure
    if (this.#over === reason) return
    const isWaiting = this.#isInDoubt && reason === UNREACHED
    this.#over = reason
    this.#warned = undefined
    this.#isInDoubt = false
    if (!isUnsure) this.#tellOfEnd()
    if (!this.#emit('session:ended', { reason })) return this.#screen.clear()
    this.#screen.cover(isWaiting ? 'waiting' : reason, this.#coverActions())
  }

  #coverActions () {
    return {
      signInUrl: said('signInUrl') || page.URL.replace(/#.*/, ''),
      opened: (/** @type {Window | null} */ tab) => { this.#signInTab = tab }
    }
  }

  /** The same person is back. @returns {Promise<boolean>} Whether the page has a token for them. */
  async #resume () {
    if (!await this.#manager?.refresh().catch(() => '')) {
      this.#isUnsure = true
      this.#client.backOff()
      return false
    }
    this.#uncover()
    this.#emit('session:resumed', {})
    // The tab that was opened for it has done its work; the browser then shows this one.
    if (Date.now() - this.#arrivedAt < JUST_NOW) this.#signInTab?.close()
    this.#signInTab = undefined
    return true
  }

  #uncover () {
    if (this.#over || this.#warned || this.#isInDoubt) this.#screen.clear()
    this.#over = this.#warned = undefined
    this.#isUnsure = this.#isInDoubt = false
  }

  // -- The other tabs

  #tell () {
    const isNew = !this.#isHeardOf
    this.#isHeardOf = true
    this.#tabs?.tell({
      subject: this.#subject, isNew, at: this.#knownAt, idle: this.#idle, ...this.#ends
    })
  }

  /** The others ask for themselves: of their own person, who may be another. */
  #tellOfEnd () { this.#tabs?.tell({ isOver: true }) }

  /** @param {any} news  What another tab tells, maybe of another release. */
  #onNews (news) {
    const { isOver, subject, isNew, at, idle, idleEnd, absoluteEnd } = news ?? {}
    if (isOver === true && !this.#over && this.#isPersonal()) return this.#doubt()
    const isOurs = [at, idle, idleEnd, absoluteEnd].every(time => typeof time === 'number')
    if (!isOurs || (!this.#ends && !this.#over)) return
    this.#arrivedAt = isNew ? at : -Infinity
    if (this.#over || subject !== this.#subject) return this.#doubt()
    if (at < this.#knownAt) return
    this.#reveal()
    this.#knownAt = at
    this.#idle = Math.max(this.#idle, idle)
    this.#ends = { idleEnd, absoluteEnd }
    this.#tick()
  }

  /** @param {string} type @param {object} detail @returns {boolean} Nobody prevented it. */
  #emit (type, detail) {
    const init = { detail, cancelable: type !== 'session:resumed' }
    const here = this.dispatchEvent(new CustomEvent(type, init))
    return page.dispatchEvent(new CustomEvent(type, init)) && here
  }
}

const slot = /** @type {{ [RUNNING]?: SessionClock }} */ (/** @type {unknown} */ (window))

/** @param {number} wait */
const pause = wait => new Promise(resolve => setTimeout(resolve, wait))

/** Changes when the clock is set, or the machine has slept. */
function drift () { return Date.now() - performance.now() }

/**
 * When the server counted what the page says, at the earliest; undefined for a page that may be an
 * old copy, or of which the browser does not tell.
 */
function answeredAt () {
  const entry = /** @type {PerformanceNavigationTiming | undefined} */ (
    performance.getEntriesByType('navigation')[0])
  if (!entry || entry.type === 'back_forward' || entry.transferSize === 0) return undefined
  return Date.now() - performance.now() + entry.requestStart
}

/** Whether Back or Forward has shown a copy that the browser's cache had, and asked nobody. */
function isFromHistory () {
  const entry = /** @type {PerformanceNavigationTiming | undefined} */ (
    performance.getEntriesByType('navigation')[0])
  return entry?.type === 'back_forward' && entry.transferSize === 0
}
