// The dashboard without reloads: the quick note, and how long the session still lasts.
// The extension's CSRFManager puts the token on the fetch; nothing here knows of it.

const form = document.getElementById('quick-note')
const result = document.getElementById('quick-result')
const clock = document.getElementById('session-clock')

/** @param {{ text: string, created_at: string }} note */
function show (note) {
  const item = document.createElement('li')
  const text = document.createElement('p')
  text.className = 'text'
  text.textContent = note.text
  const when = document.createElement('p')
  when.className = 'hint'
  when.textContent = 'just now'
  item.append(text, when)
  document.getElementById('notes').prepend(item)
  document.getElementById('no-notes').hidden = true
}

const OLD_PAGE = 'This page was old. Please send it again; if that does not help, keep a copy and ' +
  'reload the page.'

/**
 * In plain words why the note was refused. Without a session no token is right, so who is signed
 * in says more than what was wrong with the token.
 * @param {{ reason?: string, error?: string, message?: string }} answer
 * @param {boolean | undefined} signedIn  Undefined where that could not be asked.
 */
function refusal ({ reason = '', error, message }, signedIn) {
  const ended = reason === 'session_missing' || reason === 'session_expired'
  if (ended || error === 'unauthorized' || signedIn === false) {
    return 'You are signed out. Sign in again in another tab, then reload this page; keep a copy ' +
      'of what you typed.'
  }
  return reason.startsWith('token_') ? OLD_PAGE : message ?? error ?? 'Please try again.'
}

/** What the server says, or null where it was not reached or did not answer as it should. */
async function send (text) {
  try {
    const response = await fetch(form.dataset.apiUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify({ text })
    })
    return { saved: response.ok, answer: await response.json() }
  } catch {
    return null
  }
}

form.addEventListener('submit', async event => {
  event.preventDefault()
  const field = form.elements.namedItem('text')
  result.textContent = 'Sending…'
  const sent = await send(field.value)
  // What was typed stays in the field until it is saved.
  if (!sent) {
    result.textContent = 'Not saved: the server could not be reached. Please try again.'
    return
  }
  if (sent.saved) {
    show(sent.answer)
    field.value = ''
    result.textContent = 'Saved.'
  }
  const signedIn = await tick()
  if (!sent.saved) result.textContent = `Not saved. ${refusal(sent.answer, signedIn)}`
})

/** @param {number} seconds */
function words (seconds) {
  const minutes = Math.max(1, Math.round(seconds / 60))
  if (minutes < 90) return minutes === 1 ? 'a minute' : `${minutes} minutes`
  return `${Math.round(minutes / 60)} hours`
}

function ended () {
  const link = document.createElement('a')
  link.href = clock.dataset.loginUrl
  link.textContent = 'Sign in again'
  clock.replaceChildren('Your session has ended. ', link, '.')
}

// Asking never keeps the session alive: the endpoint does not count as activity.
/** @returns {Promise<boolean | undefined>} Whether somebody is signed in, if that could be asked. */
async function tick () {
  try {
    const response = await fetch(clock.dataset.statusUrl, { cache: 'no-store' })
    if (!response.ok) return
    const status = await response.json()
    if (!status.authenticated) {
      ended()
      return false
    }
    const left = Math.min(status.idle_expires_in ?? Infinity, status.absolute_expires_in ?? Infinity)
    if (left < Infinity) clock.textContent = `Without you, this session ends in ${words(left)}.`
    return true
  } catch {
    // Offline: the page keeps what it last knew, and asks again.
  }
}

tick()
setInterval(tick, 60_000)
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') tick()
})
