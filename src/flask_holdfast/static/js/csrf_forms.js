// @ts-check

import { destination, patch, said, setting, words } from './csrf_page.js'
import { page, unclobbered } from './unclobbered.js'

/**
 * Gives the token to forms that a person or a script sends, and holds those that would go without
 * a valid one until it is there.
 */

/** @typedef {import('./csrf_page.js').Keeper} Keeper */

/** Reason of csrf:failed. */
const REFRESH_FAILED = 'refresh_failed'

/** Replaced by data-words of the meta element, or by `new CSRFManager({ words })`. */
export const WORDS = {
  sending: 'Sending…',
  notSent: 'This was not sent: the server could not be reached. What you typed is still here, ' +
    'please try again.',
  notSentChanged: 'This was not sent: who is signed in has changed. Copy what you typed, then ' +
    'reload the page.'
}

/** Milliseconds. What is sent sooner needs no words. */
const SOON = 300

/** @type {boolean | undefined} */
let doMadeUpEventsSend

/**
 * Whether a form is sent by a submit event that a script has made and dispatched: by Firefox it is
 * (rails/rails#37688), though the DOM Standard gives such an event no effect. Seen at a form that
 * leads nowhere, in a shadow root that neither of its events leaves.
 */
function madeUpEventsSend () {
  if (doMadeUpEventsSend === undefined) {
    doMadeUpEventsSend = false
    const host = document.createElement('div')
    host.hidden = true
    const form = document.createElement('form')
    form.method = 'dialog'
    form.addEventListener('formdata', () => { doMadeUpEventsSend = true })
    host.attachShadow({ mode: 'closed' }).append(form)
    document.documentElement.append(host)
    form.dispatchEvent(new Event('submit'))
    host.remove()
  }
  return doMadeUpEventsSend
}

export class Forms {
  #keeper
  #words
  #signal
  /** The window whose forms these are. */
  #realm
  /** Shadow roots that are listened to: submit and formdata do not leave them. */
  #roots = new WeakSet()
  /**
   * Submissions on their way to formdata.
   * @type {WeakMap<HTMLFormElement, SubmitEvent | undefined>}
   */
  #submits = new WeakMap()
  #held = new WeakSet()
  /** @type {HTMLFormElement | undefined} The one that is being sent after it was held. */
  #released
  /** @type {WeakMap<HTMLFormElement, HTMLElement>} */
  #notices = new WeakMap()

  /**
   * Begins, until the signal aborts.
   * @param {Keeper} keeper @param {Partial<typeof WORDS> | undefined} words
   * @param {AbortSignal} signal @param {Window & typeof globalThis} realm
   */
  constructor (keeper, words, signal, realm) {
    this.#keeper = keeper
    this.#words = words
    this.#signal = signal
    this.#realm = realm
    this.#watch(realm)
    this.#watchShadows()
  }

  /**
   * A held form is stopped before any handler of the page has acted on it, for they all run again
   * when it is sent.
   * @param {EventTarget} root
   */
  #watch (root) {
    if (this.#roots.has(root)) return
    this.#roots.add(root)
    const first = { signal: this.#signal, capture: true }
    root.addEventListener('submit', event => this.#onSubmit(/** @type {any} */ (event)), first)
    root.addEventListener('formdata', event => this.#onFormData(/** @type {any} */ (event)), first)
  }

  /**
   * Shadow roots are found when they are made, or, if the parser or another script made them before
   * us, when somebody is about to send a form in one. A closed one of those stays unknown.
   */
  #watchShadows () {
    const signal = this.#signal
    const realm = this.#realm
    patch(realm.Element.prototype, 'attachShadow', signal, (_, args, original) => {
      const root = original(...args)
      this.#watch(root)
      return root
    })
    for (const name of ['submit', 'requestSubmit']) {
      patch(realm.HTMLFormElement.prototype, name, signal, (form, args, original) => {
        const root = unclobbered(form).getRootNode()
        if (root instanceof realm.ShadowRoot) this.#watch(root)
        const outer = this.#submits.get(form)
        // No button begins it, and no event comes.
        if (name === 'submit') this.#submits.set(form, new SubmitEvent(name))
        original(...args)
        this.#submits.set(form, outer)
      })
    }
    const onAct = (/** @type {Event} */ event) => {
      for (const node of event.composedPath()) {
        if (node instanceof realm.ShadowRoot) this.#watch(node)
      }
    }
    for (const act of ['click', 'keydown']) {
      realm.addEventListener(act, onAct, { signal, capture: true })
    }
  }

  /** @param {SubmitEvent} event */
  #onSubmit (event) {
    const { target: form, submitter = null } = event
    if (!(form instanceof this.#realm.HTMLFormElement)) return
    // What sends nothing needs no token, and is not held.
    if (!event.isTrusted && !madeUpEventsSend()) return
    const { isOwn, isPost } = destination(form, submitter)
    // While it is held, a token may come by another way.
    const isHeld = this.#held.has(form)
    // What was said of the last attempt is no longer so.
    if (!isHeld) this.#notices.get(form)?.remove()
    // A made-up event may be one that cannot be stopped: then what token there is goes along.
    const isDue = event.cancelable && form !== this.#released
    if (isOwn && isPost && isDue && (isHeld || !this.#keeper.isFresh())) {
      event.preventDefault()
      event.stopImmediatePropagation()
      if (!isHeld) this.#hold(form, submitter)
    } else {
      // formdata, which follows at once, does not say which button was pressed.
      this.#submits.set(form, event)
      setTimeout(() => this.#submits.delete(form))
    }
  }

  /**
   * Its buttons stay as they are, for somebody may be reading them aloud; a second press is not
   * sent.
   * @param {HTMLFormElement} form @param {any} submitter
   */
  async #hold (form, submitter) {
    this.#held.add(form)
    const notice = this.#note(form, submitter, 'status')
    const text = words(WORDS, this.#words)
    const telling = setTimeout(() => { notice.textContent = text.sending }, SOON)
    const token = await this.#keeper.refresh().catch(() => '')
    clearTimeout(telling)
    notice.remove()
    this.#held.delete(form)
    // Who has signed in in another tab needs no second sign-in, and is told so by the server.
    const isMoot = this.#keeper.isChanged() && said('signInPage') === 'true'
    if (token || isMoot || this.#signal.aborted) {
      this.#released = form
      unclobbered(form).requestSubmit(submitter?.form === form ? submitter : null)
      this.#released = undefined
      return
    }
    const reason = this.#keeper.fail(REFRESH_FAILED, { form })
    if (!reason) return
    this.#note(form, submitter, 'alert').textContent =
      reason === REFRESH_FAILED ? text.notSent : text.notSentChanged
  }

  /**
   * A place for words, empty at first: where the person has pressed, for the top of a long form is
   * out of sight.
   * @param {HTMLFormElement} form @param {HTMLElement | null} submitter @param {string} role
   */
  #note (form, submitter, role) {
    const notice = page.createElement('div')
    notice.className = 'holdfast-notice'
    notice.setAttribute('role', role)
    if (submitter) submitter.after(notice)
    else unclobbered(form).before(notice)
    this.#notices.set(form, notice)
    this.#signal.addEventListener('abort', () => notice.remove())
    return notice
  }

  /**
   * Comes whenever a form's data is gathered, by form.submit() too, and when a script reads it. What
   * a script reads it may send anywhere, so that gets no token: if it is sent to us, the request
   * carries one.
   * @param {FormDataEvent} event
   */
  #onFormData ({ target: form, formData }) {
    if (!(form instanceof this.#realm.HTMLFormElement)) return
    const submit = this.#submits.get(form)
    // The button counts only in the very submission that it began: a handler that cancels that,
    // or calls form.submit() in its midst, sends the form to its own action.
    // Firefox gathers the data while eventPhase is not yet NONE.
    const isSent = submit && !submit.defaultPrevented && submit.currentTarget === null
    if (isSent) this.#submits.delete(form)
    const { isOwn, isPost } = destination(form, isSent ? submit.submitter : null)
    const token = this.#keeper.token()
    if (isSent && isOwn && isPost && token) formData.set(setting('field'), token)
    if (isOwn) return
    // The page's author put our token into a form or button that leads elsewhere.
    for (const [name, value] of [...formData]) {
      if (this.#keeper.isIssued(String(value))) formData.delete(name)
    }
  }
}
