// The quick note, sent without leaving the page. The extension's CSRFManager puts the token on the
// fetch, and its SessionClock says when the session ends; nothing here knows of either.

const form = document.getElementById('quick-note')
const result = document.getElementById('quick-result')

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

/**
 * In plain words why the note was refused.
 * @param {{ reason?: string, error?: string, message?: string }} answer
 */
function refusal ({ reason, error, message }) {
  // By now the page is covered, or says that it was made for somebody else.
  if (reason || error === 'unauthorized') return 'Please send it again.'
  return message ?? error ?? 'Please try again.'
}

/** What the server says, or null where it was not reached or did not answer as it should. */
async function send (text) {
  try {
    const response = await fetch(form.dataset.apiUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify({ text }),
      signal: AbortSignal.timeout(30_000) // a second press waits for the first
    })
    return { saved: response.ok, answer: await response.json() }
  } catch {
    return null
  }
}

let sending = false

form.addEventListener('submit', async event => {
  event.preventDefault()
  if (sending) return
  sending = true
  const field = form.elements.namedItem('text')
  const text = field.value
  result.textContent = 'Sending…'
  const sent = await send(text)
  sending = false
  // What was typed stays in the field until it is saved.
  if (!sent) {
    result.textContent = 'Not saved: the server could not be reached. Please try again.'
    return
  }
  if (sent.saved) {
    show(sent.answer)
    if (field.value === text) field.value = '' // else the next note is being typed
    result.textContent = 'Saved.'
    return
  }
  result.textContent = `Not saved. ${refusal(sent.answer)}`
})
