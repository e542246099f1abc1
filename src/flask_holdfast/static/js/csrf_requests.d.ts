export type Keeper = import('./csrf_page.js').Keeper;
export type Realm = Window & typeof globalThis;
/** @typedef {Window & typeof globalThis} Realm  A window of this origin, a frame's for one. */
/**
 * Until the signal aborts, what is sent from `realm` has the token.
 * @param {Keeper} keeper @param {AbortSignal} signal @param {Realm} realm
 */
export declare function patchRequests(keeper: Keeper, signal: AbortSignal, realm: Realm): void;
/**
 * As fetch, with the token where it concerns us.
 * @param {Keeper} keeper @param {any[]} args @param {(...args: any[]) => Promise<Response>} fetch
 * @param {string} [base]
 */
export declare function fetchAsUs(keeper: Keeper, args: any[], fetch: (...args: any[]) => Promise<Response>, base?: string): Promise<Response>;
