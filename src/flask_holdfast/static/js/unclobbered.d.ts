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
export declare function unclobbered<T extends object>(object: T): T;
/** This page's document. */
export declare const page: Document;
