export declare const DEFAULTS: {
    refreshUrl: string;
    header: string;
    field: string;
    expiresIn: string;
};
export type Grant = {
    csrf_token: string;
    expires_in: number | null;
    subject: string;
};
export type Keeper = {
    token: () => string;
    isFresh: () => boolean;
    refresh: () => Promise<string>;
    refreshIfDue: () => Promise<void>;
    refused: (grant: Grant, askedAt: number) => boolean;
    fail: (reason: string, about?: {
        form?: HTMLFormElement;
        response?: Response;
    }) => string;
    isIssued: (text: string) => boolean;
    isChanged: () => boolean;
};
/**
 * What the server answers about this session: `expires_in` in seconds, null for never; `subject`
 * is a fingerprint of who is signed in.
 * @typedef {{ csrf_token: string, expires_in: number | null, subject: string }} Grant
 */
/**
 * What requests and forms need of the manager. `token`: to send now, may be empty. `isFresh`:
 * whether it is good. `refresh`: a new one, or rejects; `refreshIfDue` does so if it is not good
 * and the server may be asked, and never rejects. `refused` takes what a refusal brought, and says
 * whether the request may be sent again. `fail` says what was not sent, or refused for good, and
 * why: the reason that the person is still to be told, empty where the page does that. `isIssued`:
 * a text is a token that this page ever had. `isChanged`: somebody else is signed in than the page
 * was made for.
 * @typedef {object} Keeper
 * @property {() => string} token
 * @property {() => boolean} isFresh
 * @property {() => Promise<string>} refresh
 * @property {() => Promise<void>} refreshIfDue
 * @property {(grant: Grant, askedAt: number) => boolean} refused
 * @property {(reason: string, about?: { form?: HTMLFormElement, response?: Response }) => string}
 *   fail
 * @property {(text: string) => boolean} isIssued
 * @property {() => boolean} isChanged
 */
/** @returns {HTMLMetaElement[]} */
export declare function metaElements(): HTMLMetaElement[];
/** An attribute "data-..." of the meta element. @param {string} name @returns {string | undefined} */
export declare function said(name: string): string | undefined;
/** The token of the meta element. */
export declare function metaToken(): string | undefined;
/** Read at each use, for libraries swap heads. @param {keyof typeof DEFAULTS} name */
export declare function setting(name: keyof typeof DEFAULTS): string;
/** Whether a token stands in this page, in a meta element or in a field. @param {string} text */
export declare function isInPage(text: string): boolean;
/**
 * Texts for people: the defaults, over them those of the page's data-words, over all the caller's.
 * @template {Record<string, string>} Words
 * @param {Words} defaults @param {Partial<Words>} [own] @returns {Words}
 */
export declare function words<Words extends Record<string, string>>(defaults: Words, own?: Partial<Words>): Words;
/** Hidden fields for our token, those of prefixed forms too, except where the form leaves us. */
export declare function tokenFields(): HTMLInputElement[];
/**
 * When this page was made, by Date.now(): `asked` and `known` lie before and after that. One from
 * the browser's cache may be of any age.
 */
export declare function pageTimes(): {
    asked: number;
    known: number;
};
/** @param {unknown} url @param {string} [base] @returns {URL | null} */
export declare function resolved(url: unknown, base?: string): URL | null;
/**
 * Judges the address that the browser will use, never its spelling: "//host", "\\host", capitals
 * and tabs mean what the URL parser makes of them. A sandboxed page ("null") has no own origin.
 * @param {unknown} url @param {string} [base]
 */
export declare function isOwnOrigin(url: unknown, base?: string): boolean;
/** @param {string} method @param {unknown} url @param {string} [base] */
export declare function concernsUs(method: string, url: unknown, base?: string): boolean;
/**
 * An address of the application's as it means it: whatever <base> the page has, or has been given.
 * @param {string} url
 */
export declare function ownAddress(url: string): string;
/**
 * Where a form leads, and how, as the HTML standard has it.
 * @param {HTMLFormElement} form @param {HTMLElement | null} [submitter]
 */
export declare function destination(form: HTMLFormElement, submitter?: HTMLElement | null): {
    url: string | undefined;
    isOwn: boolean;
    isPost: boolean;
};
/** What a refusal of ours brings; null for every other answer. @param {Response} response */
export declare function readRefusal(response: Response): Promise<Grant | null>;
/** The same of an XMLHttpRequest that has ended. @param {XMLHttpRequest} request */
export declare function readRefusalOf({ status, responseURL, response }: XMLHttpRequest): Grant | null;
/** @param {any} body @returns {Grant | null} */
export declare function asGrant(body: any): Grant | null;
/**
 * Puts a function in a method's place until the signal aborts. Whoever has wrapped ours by then
 * keeps it, so after the abort it passes everything on.
 * @param {any} target @param {string} name @param {AbortSignal} signal
 * @param {(self: any, args: any[], original: (...args: any[]) => any) => unknown} instead
 */
export declare function patch(target: any, name: string, signal: AbortSignal, instead: (self: any, args: any[], original: (...args: any[]) => any) => unknown): void;
