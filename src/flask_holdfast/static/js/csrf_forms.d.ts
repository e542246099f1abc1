export type Keeper = {
    token: () => string;
    isFresh: () => boolean;
    refresh: () => Promise<string>;
    isIssued: (text: string) => boolean;
    isChanged: () => boolean;
    fail: (form: HTMLFormElement) => boolean;
};
/**
 * Gives the token to forms that a person or a script sends, and holds those that would go without
 * a valid one until it is there.
 *
 * What it needs of the manager. `token`: to send now, may be empty. `isFresh`: whether it is good.
 * `refresh`: a new one, or rejects. `isIssued`: whether a text is a token that this page ever had.
 * `isChanged`: whether somebody else is signed in. `fail`: says that a form was not sent; whether
 * the person is still to be told.
 * @typedef {object} Keeper
 * @property {() => string} token
 * @property {() => boolean} isFresh
 * @property {() => Promise<string>} refresh
 * @property {(text: string) => boolean} isIssued
 * @property {() => boolean} isChanged
 * @property {(form: HTMLFormElement) => boolean} fail
 */
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
     * @param {AbortSignal} signal
     */
    constructor(keeper: Keeper, words: Partial<typeof WORDS> | undefined, signal: AbortSignal);
}
