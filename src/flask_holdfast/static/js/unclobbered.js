// @ts-check

/**
 * Objects of the page as the browser made them. To the script of a page, elements that are named
 * like a property of their document or form stand in its place (DOM clobbering): with
 * <img name="querySelector"> in it, document.querySelector is an image. Markup like that needs no
 * script, and passes many a sanitizer and every policy. So nothing of a document or a form is used
 * but through here; other elements, and window, let nothing stand before what is theirs.
 *
 * Not protected: a script of the page can change the prototypes themselves.
 */

/**
 * Reads, calls and sets properties on the prototypes.
 * @template {object} T
 * @param {T} object @returns {T}
 */
export function unclobbered (object) {
  const prototype = Object.getPrototypeOf(object)
  // Not a proxy for the object itself: a property that a script has fixed on it (`hidden`, in a test
  // or a polyfill) would have to be answered with, or reading it throws.
  return new Proxy(/** @type {T} */ ({}), {
    get (_, name) {
      const value = Reflect.get(prototype, name, object)
      return typeof value === 'function' ? value.bind(object) : value
    },
    set: (_, name, value) => Reflect.set(prototype, name, value, object)
  })
}

/** In a worker, which has no document. @type {unknown} */
const NO_PAGE = { baseURI: self.location.href, URL: self.location.href, querySelectorAll: () => [] }

/** This page's document. */
export const page = self.document ? unclobbered(document) : /** @type {Document} */ (NO_PAGE)
