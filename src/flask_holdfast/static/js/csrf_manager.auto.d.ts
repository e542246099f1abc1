import { CSRFManager } from './csrf_manager.js';
/** The manager of this window, for pages that load this file and want to listen to it. */
export declare const manager: CSRFManager;
