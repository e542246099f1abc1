// @ts-check

/**
 * What the tabs of one browser do together for CSRFManager. Tokens travel between them: a
 * BroadcastChannel reaches this origin alone, whose scripts can read the token of any page of it
 * anyway; nothing is written down anywhere.
 */

/** Milliseconds. Nobody waits longer for another tab, which may have been put to sleep. */
const PATIENCE = 10_000
/** A lock may be handed on before a message that was sent first. */
const WORD_OF_MOUTH = 50

/**
 * Runs it while no other tab runs the same. Where tabs cannot be told apart (plain http has no Web
 * Locks), or one sleeps in the middle of it, runs it all the same.
 * @param {string} name
 * @param {(hasWaited: boolean) => unknown} run  Who has waited has heard of what the one before was
 *   answered, if it told.
 */
export async function alone (name, run) {
  let began = false
  const once = async (hasWaited = true) => {
    began = true
    if (hasWaited) await new Promise(resolve => setTimeout(resolve, WORD_OF_MOUTH))
    await run(hasWaited)
  }
  try {
    const { locks } = navigator
    await locks.request(name, { ifAvailable: true }, lock => lock && once(false))
    const signal = AbortSignal.timeout(PATIENCE)
    if (!began) await locks.request(name, { signal }, () => once())
  } catch (error) {
    if (began) throw error
    await once()
  }
}

/** Tells the other tabs, and hears them, until the signal aborts. */
export class Tabs {
  /** @type {BroadcastChannel | undefined} */
  #channel

  /** @param {string} name @param {(news: any) => void} hear @param {AbortSignal} signal */
  constructor (name, hear, signal) {
    const open = () => {
      this.#channel ??= new BroadcastChannel(name)
      this.#channel.onmessage = ({ data }) => hear(data)
    }
    const close = () => {
      this.#channel?.close()
      this.#channel = undefined
    }
    open()
    // A message to a page in the back/forward cache would put it out of that.
    window.addEventListener('pagehide', close, { signal })
    window.addEventListener('pageshow', open, { signal })
    signal.addEventListener('abort', close)
  }

  /** @param {object} news */
  tell (news) { this.#channel?.postMessage(news) }
}
