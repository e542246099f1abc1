export type Options = {
    /**
     * For whom it acts.
     */
    subject?: string;
    /**
     * Where tokens come from, as data-refresh-url of a page; one for
     * the whole worker, as is `header`.
     */
    refreshUrl?: string;
    /**
     * What carries them, as data-header.
     */
    header?: string;
};
/**
 * @typedef {object} Options
 * @property {string} [subject]  For whom it acts.
 * @property {string} [refreshUrl]  Where tokens come from, as data-refresh-url of a page; one for
 *   the whole worker, as is `header`.
 * @property {string} [header]  What carries them, as data-header.
 */
/** @param {Options} [options] @returns {typeof fetch} */
export declare function csrfFetch({ subject, ...where }?: Options): typeof fetch;
