/**
 * A pixel's configuration, in place of connect.facebook.net/signals/config/<pixel id>: registers
 * itself under its pixel id, opts the pixel in to cookies, and unlocks the library.
 */
;(function () {
  'use strict'
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript)
  const id = script ? new URL(script.src).pathname.split('/').pop() : ''
  const fbq = /** @type {any} */ (window).fbq
  if (!id || !fbq || !fbq.registerPlugin) return
  fbq.registerPlugin(id, {
    __fbEventsPlugin: 1,
    plugin: function (/** @type {any} */ _fbq, /** @type {any} */ instance) {
      instance.optIn(id, 'FirstPartyCookies', true)
      instance.configLoaded(id)
    },
  })
})()
