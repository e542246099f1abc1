// The extension's module under this application's own roof, for its other scripts to import.
export { CSRFManager } from '/session/static/js/csrf_manager.js'
