export type Keeper = import('./csrf_page.js').Keeper;
/** Replaced by data-words of the meta element, or by `new CSRFManager({ words })`. */
export declare const WORDS: {
    sending: string;
    notSent: string;
    notSentChanged: string;
};
export declare class Forms {
    #private;
    /**
     * Begins, until the signal aborts.
     * @param {Keeper} keeper @param {Partial<typeof WORDS> | undefined} words
     * @param {AbortSignal} signal @param {Window & typeof globalThis} realm
     */
    constructor(keeper: Keeper, words: Partial<typeof WORDS> | undefined, signal: AbortSignal, realm: Window & typeof globalThis);
}
