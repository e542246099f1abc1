// @ts-check

/**
 * SessionScreen is what SessionClock shows: a dialog that warns, a cover over the page and its
 * title, a line at its foot. It lives in the shadow root of <holdfast-session>, so no style of the page spoils it;
 * the page's own style sheet changes its look through parts and custom properties:
 *
 *   holdfast-session { --holdfast-accent: #7a1fa2; --holdfast-on-accent: #fff; }
 *   holdfast-session::part(dialog) { border-radius: 0; }
 *
 * Parts: dialog, cover, line, title, text, button, quiet. Its colours follow the page's
 * color-scheme. Its words are replaced by data-words of the meta element, JSON with any keys of
 * WORDS, or by `new SessionScreen({ words })`. Another look altogether is a subclass, or the
 * clock's events with preventDefault().
 */

import { ownAddress, words } from './csrf_page.js'
import { page } from './unclobbered.js'

/** {time} stands for what is left: "2:00" where it is shown, "2 minutes" where it is spoken. */
export const WORDS = {
  warning: 'You will be signed out in {time}',
  idle: 'Nothing has happened here for a while. Stay signed in to go on where you are.',
  absolute: 'No session lasts longer, so this one cannot be kept. Please save your work now, ' +
    'then sign in again.',
  stay: 'Stay signed in',
  goOn: 'Go on until then',
  signOut: 'Sign out now',
  ended: 'You are signed out',
  endedText: 'This page is covered, and what you typed is still in it. Sign in again in a new ' +
    'tab, and you go on here where you were.',
  changed: 'Somebody else is signed in now',
  changedText: 'This page was opened by another account, so it is covered. What was typed is ' +
    'still in it, and comes back when that account signs in again in this browser.',
  waiting: 'Are you still signed in?',
  waitingText: 'This page is covered until the server has said so, and what you typed is still in ' +
    'it. As soon as the server answers, the page goes on or asks you to sign in.',
  unreached: 'Your session has run out',
  unreachedText: 'This page is covered, and what you typed is still in it. The server cannot be ' +
    'reached: as soon as it answers, this page goes on or asks you to sign in.',
  signIn: 'Sign in again',
  newTab: 'opens in a new tab',
  reload: 'Open this page anew',
  reloadText: 'Opening the page anew drops what was typed.',
  note: 'The server cannot be reached. Keep a copy of what you type; we go on trying.'
}

/** Seconds left at which a screen reader is told again. */
const SPOKEN = [60, 30, 10]

/** Milliseconds. How soon our dialog is on top again after the page has opened one over it. */
const LOOK_AGAIN = 1000
/** After which a screen reader knows of an element and tells what is written into it. */
const NOTICED = 100
/** What is over sooner needs no words. */
const SOON = 400

/** Marks the page as covered, so that it is not painted, nor printed, beneath the cover. */
const COVERED = 'data-holdfast-covered'

const STYLE = `
:host {
  --accent: var(--holdfast-accent, #1f5f5b);
  --on-accent: var(--holdfast-on-accent, #fff);
  font: 1rem/1.5 system-ui, sans-serif;
  text-align: start;
}
@supports (color: light-dark(#000, #fff)) {
  :host {
    --accent: var(--holdfast-accent, light-dark(#1f5f5b, #79c4b8));
    --on-accent: var(--holdfast-on-accent, light-dark(#fff, #0e1615));
  }
}
*, ::before, ::after { box-sizing: border-box; }
[hidden] { display: none !important; }
dialog { pointer-events: auto; padding: 0; border: 0; background: Canvas; color: CanvasText; }
dialog:focus { outline: none; }
.dialog {
  width: min(27rem, calc(100vw - 2rem));
  max-height: calc(100vh - 2rem);
  padding: 1.5rem;
  overflow: auto;
  border: 1px solid color-mix(in srgb, CanvasText 20%, Canvas);
  border-radius: .75rem;
  box-shadow: 0 1rem 3rem rgb(0 0 0 / .3);
}
.dialog::backdrop { background: rgb(0 0 0 / .45); }
.cover { width: 100vw; height: 100vh; height: 100dvh; max-width: none; max-height: none; inset: 0; margin: 0; overflow: auto; }
.cover[open] { display: grid; place-items: center; }
.cover::backdrop { background: Canvas; }
.cover > div { max-width: 31rem; padding: 2rem 1.5rem; }
h2 { margin: 0 0 .5rem; font-size: 1.35rem; line-height: 1.25; text-wrap: balance; font-variant-numeric: tabular-nums; }
.cover h2 { font-size: 1.75rem; margin-bottom: .75rem; }
p { margin: 0 0 1.25rem; }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0; }
.actions + p { margin: 1rem 0 0; font-size: .9rem; }
button, a {
  padding: .55rem 1.1rem;
  border: 1px solid var(--accent);
  border-radius: .45rem;
  background: var(--accent);
  color: var(--on-accent);
  font: inherit;
  font-weight: 600;
  text-align: center;
  text-decoration: none;
  cursor: pointer;
}
.quiet { background: transparent; color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.line {
  position: fixed;
  inset: auto 0 0;
  z-index: 2147483647;
  display: flex;
  flex-wrap: wrap;
  gap: .25rem 1rem;
  align-items: center;
  justify-content: center;
  margin: 0;
  padding: .6rem 1rem;
  background: CanvasText;
  color: Canvas;
  font-variant-numeric: tabular-nums;
}
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 30rem) { .actions > * { flex: 1 1 100%; } }
@media (prefers-reduced-motion: no-preference) {
  .dialog[open] { animation: rise .2s ease-out; }
  @keyframes rise { from { opacity: 0; translate: 0 .5rem; } }
}
`

/**
 * For the page itself: on all that stands beside <holdfast-session>. Each keeps dialogs from being
 * seen that are opened later; together they hide, from print as well, what is declared visible.
 */
const PAGE_STYLE = `
html[${COVERED}] > :not(holdfast-session) { opacity: 0 !important; }
html[${COVERED}] > :not(holdfast-session), html[${COVERED}] > :not(holdfast-session) * { visibility: hidden !important; }
html:has(> holdfast-session[data-line]) { scroll-padding-bottom: 5rem; }
`

/**
 * @typedef {object} WarningActions
 * @property {() => void} stay
 * @property {(() => void) | undefined} signOut
 *
 * @typedef {'ended' | 'changed' | 'unreached' | 'waiting'} CoverReason
 *
 * @typedef {object} CoverActions
 * @property {string} signInUrl
 * @property {(tab: Window | null) => void} opened  Told of the tab in which the person signs in.
 */

export class SessionScreen {
  #words
  /** @type {HTMLElement | undefined} */
  #host
  /** @type {HTMLDialogElement | undefined} The dialog or cover that is open. */
  #open
  /** @type {HTMLElement | undefined} Where the time is shown. */
  #time
  /** @type {HTMLElement | undefined} Where it is spoken. */
  #spoken
  #spokenAt = Infinity
  /** What is left, in milliseconds. */
  #left = 0
  /** @type {HTMLElement | undefined} */
  #line
  #watch = 0
  /** @type {Element | null} What had the focus before. */
  #focused = null
  /** @type {CSSStyleSheet | undefined} */
  #pageSheet
  /** @type {{ own: string, ours: string } | undefined} The page's title, and what covers it. */
  #title
  #isCovered = false
  /** Until words are shown. */
  #soon = 0

  /** @param {{ words?: Partial<typeof WORDS> }} [options] */
  constructor ({ words } = {}) {
    this.#words = words
  }

  /**
   * The end is near. @param {'idle' | 'absolute'} reason @param {number} left  Milliseconds.
   * @param {WarningActions} actions
   */
  warn (reason, left, { stay, signOut }) {
    const title = element('h2', 'title')
    const text = element('p', 'text', this.words[reason])
    const actions = element('div', 'actions')
    const dismiss = reason === 'idle' ? stay : () => this.#shrink()
    actions.append(this.#button(reason === 'idle' ? 'stay' : 'goOn', dismiss))
    if (signOut) actions.append(this.#button('signOut', signOut, 'quiet'))
    const dialog = this.#dialog('dialog', title, text, actions)
    dialog.setAttribute('role', 'alertdialog')
    // The title counts each second; the name is said once.
    dialog.removeAttribute('aria-labelledby')
    dialog.setAttribute('aria-label', this.#sentence('warning', spoken(left)))
    dialog.addEventListener('cancel', event => {
      event.preventDefault()
      dismiss()
    })
    this.#spoken = this.#heard()
    dialog.append(this.#spoken)
    this.#time = title
    this.#spokenAt = left / 1000
    this.count(left)
    this.#show(dialog)
  }

  /** What is left now. @param {number} left  Milliseconds. */
  count (left) {
    this.#left = left
    const seconds = Math.max(0, Math.ceil(left / 1000))
    if (this.#time) this.#time.textContent = this.#sentence('warning', clockTime(seconds))
    const due = SPOKEN.find(moment => seconds <= moment && moment < this.#spokenAt)
    if (due === undefined) return
    this.#spokenAt = Math.min(...SPOKEN.filter(moment => seconds <= moment))
    if (this.#spoken) this.#spoken.textContent = this.#sentence('warning', spoken(left))
  }

  /** Nothing of the page is seen any more, as yet without a word. */
  hide () {
    if (!this.#open && !this.#isCovered) this.#focused = focused()
    this.#root()
    this.#isCovered = true
    page.documentElement.setAttribute(COVERED, '')
  }

  /**
   * As `cover`, unless that or `clear` comes first, as it mostly does.
   * @param {CoverReason} reason @param {CoverActions} actions
   */
  coverSoon (reason, actions) {
    clearTimeout(this.#soon)
    this.#soon = window.setTimeout(() => this.cover(reason, actions), SOON)
  }

  /**
   * The session is over, or may be (`waiting`): nothing of the page is seen any more, and nothing
   * of it is lost.
   * @param {CoverReason} reason @param {CoverActions} actions
   */
  cover (reason, { signInUrl, opened }) {
    clearTimeout(this.#soon)
    this.#removeLine()
    this.#time = this.#spoken = undefined
    const content = element('div')
    const title = element('h2', 'title', this.words[reason])
    const text = element('p', 'text', this.words[`${reason}Text`])
    const actions = element('div', 'actions')
    const link = /** @type {HTMLAnchorElement} */ (element('a', 'button', this.words.signIn))
    link.href = ownAddress(signInUrl)
    link.target = '_blank'
    const newTab = element('span', 'heard', ` (${this.words.newTab})`)
    link.append(newTab)
    link.addEventListener('click', event => {
      // With an opener, so that it can be closed again. Cross-Origin-Opener-Policy cuts the tie
      // where the sign-in leads to another origin.
      const isPlain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey)
      const tab = isPlain ? window.open(link.href, '_blank') : null
      if (!tab) return
      event.preventDefault()
      opened(tab)
    })
    content.append(title, text, actions)
    if (reason === 'ended') actions.append(link)
    if (reason === 'changed') {
      actions.append(this.#button('reload', () => location.reload()))
      content.append(element('p', 'text', this.words.reloadText))
    }
    const dialog = this.#dialog('cover', title, text, content)
    // Escape opens nothing. Of two in a row browsers obey the second, whatever we say to it.
    dialog.addEventListener('cancel', event => event.preventDefault())
    dialog.addEventListener('close', () => {
      if (this.#open === dialog && dialog.isConnected && !dialog.open) dialog.showModal()
    })
    this.#show(dialog)
    this.#isCovered = true
    page.documentElement.setAttribute(COVERED, '')
    this.#title = { own: this.#title?.own ?? page.title, ours: this.words[reason] }
    page.title = this.#title.ours
  }

  /** A line at the foot of the page, or none. @param {'' | 'unreached'} kind */
  note (kind) {
    const isTime = this.#time !== undefined && this.#time === this.#line
    if (isTime) return
    if (kind) this.#writeLine(this.words.note)
    else this.#removeLine()
  }

  /** Nothing is to be said any more; what had the focus has it again. */
  clear () {
    clearTimeout(this.#soon)
    this.#isCovered = false
    page.documentElement.removeAttribute(COVERED)
    // Unless the page has given itself another one meanwhile.
    if (page.title === this.#title?.ours) page.title = this.#title.own
    this.#title = undefined
    this.#close()
    this.#removeLine()
  }

  /** As they are now: a page may be swapped for one in another language. */
  get words () { return words(WORDS, this.#words) }

  // -- How it is built: by hand, for no policy on Trusted Types allows anything else everywhere.

  /**
   * @param {string} part @param {HTMLElement} title @param {HTMLElement} text
   * @param {...HTMLElement} content
   */
  #dialog (part, title, text, ...content) {
    const dialog = /** @type {HTMLDialogElement} */ (element('dialog', part))
    title.id = 'title'
    text.id = 'text'
    dialog.setAttribute('aria-labelledby', 'title')
    dialog.setAttribute('aria-describedby', 'text')
    if (content[0]?.contains(title)) dialog.append(...content)
    else dialog.append(title, text, ...content)
    return dialog
  }

  /** @param {'stay' | 'goOn' | 'signOut' | 'reload'} word @param {() => void} act @param {string} [kind] */
  #button (word, act, kind = 'button') {
    const button = /** @type {HTMLButtonElement} */ (element('button', kind, this.words[word]))
    button.type = 'button'
    button.addEventListener('click', act)
    return button
  }

  /** @param {HTMLDialogElement} dialog */
  #show (dialog) {
    if (!this.#open && !this.#isCovered) this.#focused = focused()
    const last = this.#open
    this.#open = dialog
    last?.remove()
    this.#root().append(dialog)
    dialog.showModal()
    clearInterval(this.#watch)
    this.#watch = window.setInterval(() => this.#raise(), LOOK_AGAIN)
  }

  /**
   * The page's own modal dialog, opened over ours, would keep the person from seeing ours and from
   * reaching it; so would a library that takes it out of the page. What is below a modal dialog is
   * inert, so nobody hits it.
   */
  #raise () {
    const dialog = this.#open
    if (!dialog) return
    const { left, top, width, height } = dialog.getBoundingClientRect()
    const hit = page.elementFromPoint(left + width / 2, top + height / 2)
    if (!hit || hit === this.#host) return
    this.#root()
    dialog.close()
    if (this.#time) dialog.setAttribute('aria-label', this.#sentence('warning', spoken(this.#left)))
    dialog.showModal()
  }

  #close () {
    clearInterval(this.#watch)
    const dialog = this.#open
    this.#open = this.#time = this.#spoken = undefined
    dialog?.close()
    dialog?.remove()
    if (this.#focused instanceof HTMLElement && this.#focused.isConnected) {
      this.#focused.focus({ preventScroll: true })
    }
    this.#focused = null
  }

  /** The dialog was read; its time goes on at the foot of the page. */
  #shrink () {
    this.#close()
    this.#time = this.#writeLine('')
    this.#time.setAttribute('role', 'timer')
    this.#spoken = this.#heard()
    this.#root().append(this.#spoken)
  }

  /** What a screen reader says when it changes. */
  #heard () {
    const status = element('p', 'heard')
    status.setAttribute('role', 'status')
    return status
  }

  /** @param {string} text */
  #writeLine (text) {
    this.#removeLine()
    const line = this.#line = element('p', 'line')
    line.setAttribute('role', 'status')
    setTimeout(() => { line.textContent ||= text }, NOTICED)
    const root = this.#root()
    // Beside an open dialog it would be inert.
    ;(this.#open ?? root).append(line)
    // No element that has the focus hides behind it.
    this.#host?.setAttribute('data-line', '')
    return line
  }

  #removeLine () {
    this.#line?.remove()
    this.#host?.removeAttribute('data-line')
    if (!this.#open) this.#spoken?.remove()
    this.#line = undefined
  }

  /** A shadow root beside the body, which libraries replace. */
  #root () {
    if (!this.#host) {
      this.#host = page.createElement('holdfast-session')
      this.#host.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheet(STYLE)]
    }
    if (!this.#host.isConnected) page.documentElement.append(this.#host)
    this.#pageSheet ??= sheet(PAGE_STYLE)
    const sheets = page.adoptedStyleSheets
    if (!sheets.includes(this.#pageSheet)) {
      page.adoptedStyleSheets = [...sheets, this.#pageSheet]
    }
    return /** @type {ShadowRoot} */ (this.#host.shadowRoot)
  }

  /** @param {'warning'} word @param {string} time */
  #sentence (word, time) { return this.words[word].replace('{time}', () => time) }
}

/** @param {string} name @param {string} [part] @param {string} [text] */
function element (name, part, text) {
  const made = page.createElement(name)
  if (part) {
    made.className = part
    made.setAttribute('part', part === 'quiet' ? 'button quiet' : part)
  }
  if (text) made.textContent = text
  return made
}

/** @param {string} text */
function sheet (text) {
  const made = new CSSStyleSheet()
  made.replaceSync(text)
  return made
}

/** The element that has the focus, inside open shadow roots too. */
function focused () {
  let active = page.activeElement
  while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement
  return active
}

/** @param {number} seconds */
function clockTime (seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

/** "2 minutes", in the page's language. @param {number} left */
function spoken (left) {
  const seconds = Math.ceil(left / 1000)
  const [value, unit] = seconds >= 60 ? [Math.round(seconds / 60), 'minute'] : [seconds, 'second']
  const options = { style: 'unit', unit, unitDisplay: 'long' }
  return new Intl.NumberFormat(language(), /** @type {any} */ (options)).format(value)
}

/** What the page says, also as Python spells it ("de_AT"); the browser's where that is none. */
function language () {
  try {
    return Intl.getCanonicalLocales(page.documentElement.lang.replaceAll('_', '-'))[0]
  } catch {
    return undefined
  }
}
