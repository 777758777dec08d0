/**
 * A stand-in for Meta's fbevents.js. It follows fbq's documented protocol and imitates what was
 * measured on the real library (2.9.184 to 2.9.364), traps included; "Imitates:" names each one.
 * Source: Meta, "Meta Pixel reference" and "Advanced Matching", and measurements of November 2026.
 *
 * @typedef {Record<string, any>} Bag
 * @typedef {[number, number, number, number, number, number, number, number]} Eight
 * @typedef {{
 *   id: string, userData: Bag, given: boolean, hits: Bag, agent: string, eventCount: number,
 *   pageViewSent: boolean, trackSingleOnly: boolean, cookies: boolean,
 * }} Pixel
 */
;(function () {
  'use strict'

  const VERSION = '2.9.325'
  const LOADED = performance.now().toFixed(4) // ms
  const MAX_URL = 2048 // characters; a hit whose address is as long or longer is posted
  const COOKIE_AGE = 90 * 24 * 3600 * 1000 // ms
  const MAX_CLICK_ID = 500 // characters
  const STANDARD_EVENTS = (
    'AddPaymentInfo AddToCart AddToWishlist CompleteRegistration Contact CustomizeProduct Donate ' +
    'FindLocation InitiateCheckout Lead PageView Purchase Schedule Search StartTrial ' +
    'SubmitApplication Subscribe ViewContent'
  ).split(' ')
  const HASHED = /^(?:[a-f0-9]{64}|[a-f0-9]{32})$/i
  const APPENDIX = /^(?:.{8}|AQ|Ag|Aw|BA|BQ|Bg)$/
  const SPACE = /[\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+/g
  // Of the fractions of the roots of the first primes, 32 bits each: the constants of SHA-256.
  const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter(isPrime)
  const SQUARE_ROOTS = PRIMES.slice(0, 8).map((prime) => (Math.sqrt(prime) * 2 ** 32) | 0)
  const CUBE_ROOTS = PRIMES.map((prime) => (Math.cbrt(prime) * 2 ** 32) | 0)
  const EMAIL = /^[\w!#$%&'*+/=?^`{|}~.-]+@[a-z0-9-]+(\.[a-z0-9-]+)+$/i

  const fbq = /** @type {any} */ (window).fbq
  if (typeof fbq !== 'function') {
    console.warn('[Meta Pixel] - Pixel code is not installed correctly on this page.')
    return
  }
  // Imitates: loading the library twice sends nothing twice.
  if (typeof fbq.callMethod === 'function') return

  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript)
  const home = script && script.src ? new URL(script.src) : new URL(location.href)
  const hitUrl =
    home.hostname === 'connect.facebook.net' ? 'https://www.facebook.com/tr/' : home.origin + '/tr/'

  /** @type {Pixel[]} */
  const pixels = []
  /** @type {Set<string>} pixels whose configuration has not come, and 'consent' while revoked */
  const locks = new Set()
  /** @type {Set<string>} features and pixels, as `FirstPartyCookies 42`, by configurations */
  const optIns = new Set()
  /** @type {Set<string>} pixels, or '*', without cookies by the page's wish */
  const cookieOptOuts = new Set()
  /** @type {Bag} `dpo`, `dpoco` and `dpost` as they go into each hit */
  let dataProcessing = {}
  let initTime = 0
  /** @type {any} */
  let policy = null
  let watchedUrl = '' // '' until navigations are watched

  /** @param {string} text */
  function warn(text) {
    console.warn('[Meta Pixel] - ' + text)
  }

  // --- the queue -------------------------------------------------------------------------------

  /**
   * Imitates: one lock holds calls back for all pixels while any configuration is missing or
   * consent is revoked. Consent acts at once all the same; but a `grant` that already waits behind
   * a `revoke` in the queue is never reached. Called without `this`, a PageView counts as automatic.
   * @this {any}
   * @param {any[]} call
   */
  function callMethod(...call) {
    perform(call, this == null)
  }

  /** @param {any[]} given @param {boolean} isAutomatic */
  function perform(given, isAutomatic) {
    if (locks.size && given[0] !== 'consent') return void fbq.queue.push(given)
    const isLegacy = given.length === 1 && Array.isArray(given[0])
    const call = readLegacy(isLegacy ? given[0] : given)
    const [name, ...args] = call
    // Imitates: in an array, `track` is `trackCustom`.
    const method = methods[isLegacy && name === 'track' ? 'trackCustom' : String(name)]
    if (!method) return warn('Unknown method ' + String(name))
    try {
      method(...args, ...(isAutomatic && /^track(Custom)?$/.test(name) ? pad(args) : []))
    } catch (error) {
      warn(String(error)) // a page must not break because of its pixel
    }
  }

  /** @param {any[]} args @returns what makes four of them, the last one true: automatic */
  function pad(args) {
    return [...Array(Math.max(3 - args.length, 0)), true]
  }

  /**
   * Imitates: `reportX` is `track` of X, and `reportCustomEvent` of what `event` names.
   * @param {any[]} call
   */
  function readLegacy(call) {
    const [name, params] = call
    if (typeof name !== 'string' || !name.startsWith('report')) return call
    const event = name.slice(6)
    if (event !== 'CustomEvent') return ['track', event, ...call.slice(1)]
    const isNamed = typeof Object(params).event === 'string'
    return ['trackCustom', isNamed ? params.event : event, ...call.slice(1)]
  }

  /** Imitates: the library looks up `window.fbq` at each use, whatever stands there by now. */
  function drain() {
    const queue = /** @type {any} */ (window).fbq.queue
    while (queue && queue.length && !locks.size) perform(Array.from(queue.shift()), false)
  }

  /** @type {Record<string, (...args: any[]) => void>} */
  const methods = {
    init: init,
    track: function (name, params, options, isAutomatic) {
      checkName(name)
      // Imitates: Shopify's custom events.
      const isNamed = name === 'CustomEvent' && typeof Object(params).event === 'string'
      trackAll(isNamed ? params.event : name, params, options, isAutomatic)
    },
    trackCustom: trackAll,
    send: function (name, params) {
      for (const pixel of pixels) fire(pixel, name, params, {}, {})
    },
    trackSingle: function (id, name, params, options) {
      checkName(name)
      trackOne(id, name, params, options, 1)
    },
    trackSingleCustom: function (id, name, params, options) {
      trackOne(id, name, params, options, 2)
    },
    consent: function (state) {
      if (state === 'revoke') locks.add('consent')
      else if (locks.delete('consent')) drain()
    },
    dataProcessingOptions: setDataProcessing,
    set: set,
    setUserProperties: function (id, params) {
      const pixel = findPixel(id)
      if (pixel) fire(pixel, 'UserProperties', params, {}, {})
    },
  }

  // --- init and set ----------------------------------------------------------------------------

  /**
   * Imitates: the first init with user data wins; a second one counts only if the first had no
   * keys at all. A new pixel locks the queue again until its configuration has come.
   * @param {any} rawId
   * @param {any} [userData]
   * @param {any} [options]
   */
  function init(rawId, userData, options) {
    const id = String(rawId)
    if (!/^\d+$/.test(id)) {
      console.error('[Meta Pixel] - Invalid PixelID: ' + id + '.')
      return
    }
    if (userData != null && (typeof userData !== 'object' || Array.isArray(userData))) {
      warn('Invalid user data: an object was expected.')
      userData = null
    }
    const given = !!userData && Object.keys(userData).length > 0
    const known = findPixel(id)
    if (known) {
      if (known.given || !given) warn('Duplicate Pixel ID: ' + id + '.')
      else setUserData(known, userData)
      return
    }
    /** @type {Pixel} */
    const pixel = {
      id: id,
      userData: {},
      given: false,
      hits: {},
      agent: (options && options.agent) || '',
      eventCount: 0,
      pageViewSent: false,
      trackSingleOnly: false,
      cookies: !cookieOptOuts.has(id) && !cookieOptOuts.has('*'),
    }
    initTime = initTime || Date.now()
    if (given) setUserData(pixel, userData)
    pixels.push(pixel)
    if (!fbq.disableConfigLoading) loadConfig(id)
  }

  /** @param {string} id */
  function loadConfig(id) {
    locks.add(id)
    const element = document.createElement('script')
    element.async = true
    // Imitates: the library has a policy of its own where the page demands Trusted Types.
    const types = /** @type {any} */ (window).trustedTypes
    policy ||=
      types &&
      types.createPolicy('connect.facebook.net/fbevents', {
        createScriptURL: (/** @type {string} */ url) => url,
      })
    const url =
      home.origin +
      '/signals/config/' +
      id +
      '?v=' +
      VERSION +
      '&r=stable&domain=' +
      encodeURIComponent(location.hostname)
    element.src = policy ? policy.createScriptURL(url) : url
    const first = document.getElementsByTagName('script')[0]
    if (first && first.parentNode) first.parentNode.insertBefore(element, first)
    else document.head.appendChild(element)
  }

  /** What a configuration script may call. */
  const instance = {
    /** @param {string} id @param {string} feature @param {boolean} on */
    optIn: function (id, feature, on) {
      if (on) optIns.add(feature + ' ' + id)
      else optIns.delete(feature + ' ' + id)
    },
    /** @param {string} id */
    configLoaded: function (id) {
      const pixel = findPixel(id)
      // Imitates: `_fbc` is written when the configuration comes, `_fbp` with the first event.
      if (pixel && usesCookies(pixel)) readClickCookie()
      locks.delete(String(id))
      drain()
    },
  }

  /** @param {any} id */
  function findPixel(id) {
    return pixels.find((pixel) => pixel.id === String(id))
  }

  /**
   * @param {string} key
   * @param {any} value
   * @param {any} [id]
   */
  function set(key, value, id) {
    const pixel = findPixel(id)
    if (key === 'firstPartyCookies') {
      if (value === false) cookieOptOuts.add(id == null ? '*' : String(id))
      for (const one of pixels) if (id == null || one === pixel) one.cookies = value !== false
    } else if (key === 'agent' || key === 'trackSingleOnly') {
      // Imitates: both need a pixel that is initialised; before that they are ignored.
      if (!pixel) warn('set ' + key + ': pixel ' + String(id) + ' is not initialised.')
      else if (key === 'agent') pixel.agent = String(value)
      else pixel.trackSingleOnly = value === true
    } else if (key !== 'autoConfig' && key !== 'automaticMatchingConfig' && key !== 'codeless') {
      warn('set ' + key + ' is not allowed.')
    }
  }

  /**
   * Imitates: one value, or three of which the state is 0 or 1000, are taken. Anything else, such
   * as (['LDU'], 1, 1001), fails a check whose error is swallowed: hits go out without `dpo`.
   * @param {any} options
   * @param {any} [country]
   * @param {any} [state]
   */
  function setDataProcessing(options, country, state) {
    if (!Array.isArray(options) || !options.every((option) => option === 'LDU')) return
    if (arguments.length === 1) dataProcessing = { dpo: options.join(',') }
    if ((country !== 0 && country !== 1) || (state !== 0 && state !== 1000)) return
    dataProcessing = { dpo: options.join(','), dpoco: country, dpost: state }
  }

  // --- events ----------------------------------------------------------------------------------

  /** @param {any} name */
  function checkName(name) {
    if (!STANDARD_EVENTS.includes(name)) {
      warn("You are sending a non-standard event '" + String(name) + "'; use trackCustom.")
    }
  }

  /**
   * Imitates: of PageViews through track and trackCustom only the first per pixel and page load is
   * sent; the others are dropped without a word, whatever their event id.
   * @param {any} name
   * @param {any} [params]
   * @param {any} [options]
   * @param {boolean} [isAutomatic]
   */
  function trackAll(name, params, options, isAutomatic = false) {
    for (const pixel of pixels) {
      if (pixel.trackSingleOnly) continue
      if (name === 'PageView') {
        if (pixel.pageViewSent && !isAutomatic && !fbq.allowDuplicatePageViews) continue
        pixel.pageViewSent = true
      }
      fire(pixel, name, params, options, {})
    }
  }

  /**
   * @param {any} id
   * @param {any} name
   * @param {any} params
   * @param {any} options
   * @param {number} method
   */
  function trackOne(id, name, params, options, method) {
    // Imitates: a number is refused here, unlike by init.
    const pixel = typeof id === 'string' ? findPixel(id) : undefined
    if (!pixel) return warn('trackSingle: pixel ' + String(id) + ' is not initialised.')
    fire(pixel, name, params, options, { tm: method })
  }

  /**
   * Send one event of one pixel.
   * @param {Pixel} pixel
   * @param {any} name
   * @param {any} params
   * @param {any} options
   * @param {Bag} extra
   */
  function fire(pixel, name, params, options, extra) {
    if (typeof name !== 'string' || !name) return warn('An event needs a name.')
    if (params != null && typeof params !== 'object') {
      warn('Invalid parameters of ' + name + ': an object was expected.')
      params = {}
    }
    if (name === 'Purchase') checkMoney(params || {})
    /** @type {Bag} */
    const hit = {
      id: pixel.id,
      ev: name,
      dl: location.href,
      rl: document.referrer,
      if: window.top !== window,
      ts: Date.now(),
    }
    for (const [key, value] of Object.entries(params || {})) {
      if (value == null) continue
      hit['cd[' + key + ']'] = typeof value === 'object' ? JSON.stringify(value) : value
    }
    if (optIns.has('AutomaticMatching ' + pixel.id)) Object.assign(hit, readForms())
    Object.assign(hit, pixel.hits, describePage())
    const agent = pixel.agent || fbq.agent
    if (agent) hit.a = agent
    hit.ec = pixel.eventCount++
    hit.o = 4126
    if (usesCookies(pixel)) {
      hit.fbp = readBrowserCookie()
      const fbc = readClickCookie()
      if (fbc) {
        hit.fbc = fbc
        hit.fbcs = keep('multiFbc', fbc)
      }
    }
    hit.it = initTime
    const eventId = readEventId(options)
    if (eventId !== null) hit.eid = eventId
    else if (optIns.has('OpenBridge ' + pixel.id) && !extra.es) {
      // Imitates: a Conversions API Gateway's own id, the same for all hits of one event.
      hit.eid = 'ob3_plugin-set_' + sha256([name, hit.dl, Math.floor(hit.ts / 10)].join(' '))
    }
    send(Object.assign(hit, dataProcessing, extra))
    watchNavigation()
  }

  /** Imitates: what every real hit says beside the event, some 400 characters. */
  function describePage() {
    const referrer = document.referrer && new URL(document.referrer)
    const isExternal = referrer && referrer.hostname !== location.hostname
    return {
      sw: screen.width,
      sh: screen.height,
      v: VERSION,
      r: 'stable',
      'pmd[title]': document.title.slice(0, 60),
      'pmd[locale]': navigator.language,
      'expv2[0]': 'pl1',
      'expv2[1]': 'el2',
      'expv2[2]': 'bc1',
      'expv2[3]': 'ra0',
      'expv2[4]': 'rp1',
      'expv2[5]': 'cd0',
      plt: LOADED,
      ler: keep('lastExternalReferrer', isExternal ? referrer.origin : 'empty'),
      cdl: 'API_unavailable',
      cs_est: true,
      coo: false,
      tz: new Date().getTimezoneOffset(),
      rqs: 'async',
    }
  }

  /**
   * Imitates: `multiFbc`, `lastExternalReferrer` and its time stay in localStorage.
   * @param {string} name @param {string} value
   */
  function keep(name, value) {
    try {
      localStorage[name] = value
      if (name === 'lastExternalReferrer') localStorage[name + 'Time'] = Date.now()
    } catch {
      // a page without storage
    }
    return value
  }

  /** Imitates: automatic advanced matching reads the fields of forms that were filled in. */
  function readForms() {
    /** @type {Bag} */
    const found = {}
    for (const field of document.querySelectorAll('input[type=email], input[name*=email]')) {
      const email = normalize('em', /** @type {HTMLInputElement} */ (field).value)
      if (email && email.includes('.')) {
        found['udff[em]'] = sha256(email)
        found['audff[em]'] = sha256(email)
      }
    }
    return found
  }

  // Imitates: with automatic configuration a click on a button is an event, without an id.
  document.addEventListener(
    'click',
    function (event) {
      const button = /** @type {Element} */ (event.target).closest('button, [type=submit]')
      if (!button || locks.size) return
      for (const pixel of pixels) {
        if (!optIns.has('AutomaticSetup ' + pixel.id)) continue
        const params = { buttonText: button.textContent, buttonFeatures: { classList: '' } }
        fire(pixel, 'SubscribedButtonClick', params, {}, { tm: 3, es: 'automatic' })
      }
    },
    true,
  )

  /**
   * Imitates: `eventID` or `event_id`, unchanged; an empty one is sent, an array is not; one level
   * of nesting is undone.
   * @param {any} options
   * @returns {string | null}
   */
  function readEventId(options) {
    if (options == null || typeof options !== 'object') return null
    const value = options.eventID != null ? options.eventID : options.event_id
    if (value == null) return null
    if (typeof value !== 'object') return String(value)
    if (!Array.isArray(value)) return readEventId(value)
    warn('Invalid eventID: a string was expected.')
    return null
  }

  /** @param {Bag} params */
  function checkMoney(params) {
    const value = params.value
    if (value == null || value === '' || Array.isArray(value) || !isFinite(Number(value))) {
      warn("Parameter 'value' of Purchase is missing or not a number.")
    }
    if (typeof params.currency !== 'string' || !/^[a-z]{3}$/i.test(params.currency)) {
      warn("Parameter 'currency' of Purchase is missing or invalid.")
    }
  }

  // --- navigation ------------------------------------------------------------------------------

  /**
   * Imitates: after the first hit a change of address sends a PageView without event id, unless
   * `disablePushState` was set by then; so does the return from the back/forward cache.
   */
  function watchNavigation() {
    if (watchedUrl) return
    watchedUrl = location.href
    window.addEventListener('pageshow', function (event) {
      if (event.persisted) perform(['trackCustom', 'PageView'], true)
    })
    if (fbq.disablePushState === true) return
    const pushState = history.pushState
    const replaceState = history.replaceState
    history.pushState = function (...args) {
      pushState.apply(this, args)
      onNavigation()
    }
    history.replaceState = function (...args) {
      replaceState.apply(this, args)
      onNavigation()
    }
    window.addEventListener('popstate', onNavigation)
    window.addEventListener('hashchange', onNavigation)
  }

  function onNavigation() {
    if (location.href === watchedUrl) return
    watchedUrl = location.href
    perform(['trackCustom', 'PageView'], true)
  }

  // --- sending ---------------------------------------------------------------------------------

  /**
   * Imitates: an image that is never in the document; from 2048 characters on, a hidden form in
   * Chrome (lost if the page unloads) and a beacon elsewhere.
   * @param {Bag} hit
   */
  function send(hit) {
    const url =
      hitUrl +
      '?' +
      toPairs(hit, 'GET')
        .map((pair) => pair.map(encodeURIComponent).join('='))
        .join('&')
    if (url.length < MAX_URL) {
      new Image(1, 1).src = url
    } else if (isChrome()) {
      post(toPairs(hit, 'formPOST'))
    } else {
      const form = new FormData()
      for (const [name, value] of toPairs(hit, 'SB')) form.append(name, value)
      navigator.sendBeacon(hitUrl, form)
    }
  }

  /** @param {Bag} hit @param {string} transport @returns {[string, string][]} */
  function toPairs(hit, transport) {
    return Object.entries({ ...hit, rqm: transport }).map(([name, value]) => [name, String(value)])
  }

  function isChrome() {
    const agent = navigator.userAgent
    return /Chrome\//.test(agent) && !/Edg|OPR/.test(agent) && navigator.vendor === 'Google Inc.'
  }

  /** @param {[string, string][]} pairs */
  function post(pairs) {
    const name = 'fb' + Math.random().toString(36).slice(2)
    const frame = document.createElement('iframe')
    const form = document.createElement('form')
    frame.name = name
    frame.style.display = form.style.display = 'none'
    form.method = 'post'
    form.action = hitUrl
    form.target = name
    form.acceptCharset = 'utf-8'
    for (const [key, value] of pairs) {
      const input = document.createElement('input')
      input.type = 'hidden'
      input.name = key
      input.value = value
      form.appendChild(input)
    }
    const parent = document.body || document.documentElement
    parent.appendChild(frame)
    parent.appendChild(form)
    frame.addEventListener('load', function () {
      frame.remove()
    })
    form.submit()
    form.remove()
  }

  // --- cookies ---------------------------------------------------------------------------------

  /** @param {Pixel} pixel */
  function usesCookies(pixel) {
    return (
      pixel.cookies &&
      optIns.has('FirstPartyCookies ' + pixel.id) &&
      /^https?:$/.test(location.protocol)
    )
  }

  /**
   * Return the parts of a cookie if it is one of ours, its payload unescaped.
   *
   * Imitates: the value is read raw, not percent-decoded. Four parts, or five of which the last is
   * an appendix of 8 characters or one of six tokens of 2; anything else is as good as no cookie.
   * @param {string} name
   */
  function readCookie(name) {
    const prefix = name + '='
    const found = document.cookie.split('; ').find((pair) => pair.startsWith(prefix))
    const parts = (found || '').slice(prefix.length).split('.')
    const [brand, index, time, payload, appendix] = parts
    if (parts.length < 4 || parts.length > 5 || brand !== 'fb' || !payload) return null
    if (!/^\d+$/.test(index || '') || !/^\d+$/.test(time || '')) return null
    if (appendix !== undefined && !APPENDIX.test(appendix)) return null
    return {
      index: Number(index),
      time: Number(time),
      payload: payload.replace(/__DOT__/g, '.'),
      appendix: appendix,
    }
  }

  /**
   * @typedef {{ index: number, time: number, payload: string, appendix: string | undefined }} Parts
   * @param {Parts} parts
   */
  function packCookie(parts) {
    const payload = parts.payload.replace(/\./g, '__DOT__')
    const packed = ['fb', parts.index, parts.time, payload]
    return (parts.appendix === undefined ? packed : [...packed, parts.appendix]).join('.')
  }

  /**
   * Write a cookie for 90 days on the domain that its index names.
   *
   * Imitates: percent signs in the value are encoded again at each rewrite; the index of an adopted
   * cookie is believed, even if the cookie itself is on another domain.
   * @param {string} name
   * @param {Parts} parts
   */
  function writeCookie(name, parts) {
    const labels = location.hostname.split('.')
    const domain = labels.slice(-parts.index - 1).join('.')
    const isAddress = /^(\[.*\]|[\d.]+)$/.test(location.hostname)
    document.cookie =
      name +
      '=' +
      encodeURIComponent(packCookie(parts)) +
      '; expires=' +
      new Date(Date.now() + COOKIE_AGE).toUTCString() +
      '; domain=' +
      (isAddress ? domain : '.' + domain) +
      '; path=/' +
      (isChrome() ? '; SameSite=Lax' : '')
  }

  /**
   * Write a new cookie on the shortest domain that the browser accepts, and return its value.
   *
   * Imitates: domains are tried from the shortest on; an HttpOnly cookie cannot be overwritten nor
   * seen, so that a second one comes to live one level below.
   * @param {string} name
   * @param {number} time
   * @param {string} payload
   */
  function createCookie(name, time, payload) {
    const levels = location.hostname.split('.').length
    const parts = { index: 0, time: time, payload: payload, appendix: undefined }
    for (let index = 0; index < levels; index++) {
      parts.index = index
      writeCookie(name, parts)
      const written = readCookie(name)
      if (written && written.payload === payload && written.time === time) break
    }
    return packCookie(parts)
  }

  function readBrowserCookie() {
    const parts = readCookie('_fbp')
    if (!parts) {
      const half = () => String(Math.floor(Math.random() * 1e9))
      return createCookie('_fbp', Date.now(), half() + half())
    }
    writeCookie('_fbp', parts)
    return packCookie(parts)
  }

  /**
   * Return `fbc` for a hit, and write or renew the cookie.
   *
   * Imitates: a click id of another click replaces payload and time, but keeps index and appendix;
   * one of more than 500 characters suppresses `fbc` for the page, even if there is a cookie.
   * @returns {string | null}
   */
  function readClickCookie() {
    const parts = readCookie('_fbc')
    const clickId = readClickId()
    if (clickId.length > MAX_CLICK_ID) return null
    if (!parts) return clickId ? createCookie('_fbc', Date.now(), clickId) : null
    if (clickId && clickId !== parts.payload) {
      parts.payload = clickId
      parts.time = Date.now()
    }
    writeCookie('_fbc', parts)
    return packCookie(parts)
  }

  /**
   * Imitates: the first fbclid of the page's address, query or fragment, else of the referrer's;
   * with `brid` beside it the two are joined; other characters than these make it no click id.
   */
  function readClickId() {
    for (const url of [location.href, document.referrer]) {
      const clickId = readParameter(url, 'fbclid')
      if (!clickId || !/^[\w.~-]+$/.test(clickId)) continue
      const bridge = readParameter(url, 'brid')
      return /^[\w.~-]+$/.test(bridge) ? clickId + '_aem_' + bridge : clickId
    }
    return ''
  }

  /** @param {string} url @param {string} name */
  function readParameter(url, name) {
    const match = new RegExp('[?&#]' + name + '=([^&#]*)').exec(url)
    try {
      return decodeURIComponent((match && match[1]) || '')
    } catch {
      return '' // a broken percent escape is no value
    }
  }

  // --- advanced matching -----------------------------------------------------------------------

  /**
   * Set a pixel's user data, hashed, and what of it goes into each hit.
   *
   * Imitates: every value is also looked at for whether it looks like a phone number, a zip code,
   * an email address or a gender, and is sent again under that key if the key is missing.
   * @param {Pixel} pixel
   * @param {Bag} given
   */
  function setUserData(pixel, given) {
    pixel.given = true
    /** @type {Bag} */
    const values = {}
    for (const [key, value] of Object.entries(given)) {
      if (value != null && value !== '') values[key] = value
    }
    if ('email' in values && !('em' in values)) values.em = values.email
    if ('phone' in values && !('ph' in values)) values.ph = values.phone
    for (const value of Object.values({ ...values })) {
      const key = guessKey(String(value).trim())
      if (key && !(key in values)) values[key] = value
    }
    for (const [key, value] of Object.entries(values)) {
      const hashed = hashValue(key, value)
      if (!hashed) continue
      const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
      pixel.userData[key] = hashed
      pixel.hits['ud[' + key + ']'] = hashed
      pixel.hits['aud[' + key + ']'] = hashed
      pixel.hits['cud[' + key + ']'] = mask(text)
      pixel.hits['ncud[' + key + ']'] = mask(normalize(key, text) || text)
    }
  }

  /** @param {string} text */
  function guessKey(text) {
    if (HASHED.test(text)) return ''
    if (/^\d{5}$/.test(text)) return 'zp'
    if (/^\d[\d-]*\d$/.test(text) && text.replace(/-/g, '').length > 6) return 'ph'
    if (EMAIL.test(text)) return 'em'
    return /^(male|female)$/i.test(text) ? 'ge' : ''
  }

  /**
   * Imitates: 64 or 32 hex digits pass as they are, in lower case; `true` passes as text; arrays
   * and objects are hashed as their JSON text, which no server will ever match.
   * @param {string} key
   * @param {any} value
   */
  function hashValue(key, value) {
    if (typeof value === 'boolean') return value ? 'true' : ''
    if (typeof value === 'object') return sha256(JSON.stringify(value))
    const text = String(value)
    if (HASHED.test(text)) return text.toLowerCase()
    const normalized = normalize(key, text)
    if (normalized === null) {
      warn('Invalid ' + key + ' in user data.')
      return ''
    }
    return sha256(normalized || text)
  }

  /**
   * Return `text` as the pixel cleans it up under `key`, null if it is refused.
   * @param {string} key
   * @param {string} text
   * @returns {string | null}
   */
  function normalize(key, text) {
    const lower = text.toLowerCase()
    const trimmed = lower.trim()
    switch (key) {
      case 'em':
      case 'email': {
        const email = trimmed.includes('@') ? trimmed : trimmed + '@gmail.com'
        return EMAIL.test(email) ? email : null
      }
      case 'ph':
      case 'phone':
        return text.replace(/[^0-9]/g, '').replace(/^0+/, '')
      case 'fn':
      case 'ln':
        return lower.replace(SPACE, '').replace(/[!-/:-@[-`{-~]/g, '')
      case 'ct':
        return lower.replace(/[^a-z0-9]/g, '')
      case 'st':
      case 'country':
        return lower.replace(/[^a-z]/g, '').slice(0, 2)
      case 'zp':
        return (trimmed.split('-')[0] || '').trim()
      case 'db':
        return text.replace(/[^0-9]/g, '')
      case 'ge':
        return trimmed === 'f' || trimmed === 'm' ? trimmed : text
      default:
        return lower.replace(SPACE, '')
    }
  }

  /** @param {string} text */
  function mask(text) {
    return text.replace(/[A-Z]/g, '^').replace(/[a-z]/g, '*').replace(/[0-9]/g, '#')
  }

  /**
   * Return the SHA-256 of the text's UTF-8 bytes, 64 hex digits. `crypto.subtle` will not do: it is
   * asynchronous and missing on http, and a hit must leave within the call.
   * Source: FIPS 180-4, section 6.2.
   * @param {string} text
   */
  function sha256(text) {
    const bytes = new TextEncoder().encode(text)
    const blocks = new DataView(new ArrayBuffer(((bytes.length + 72) >> 6) << 6))
    bytes.forEach((byte, index) => blocks.setUint8(index, byte))
    blocks.setUint8(bytes.length, 0x80)
    blocks.setUint32(blocks.byteLength - 4, bytes.length * 8)
    const state = Int32Array.from(SQUARE_ROOTS)
    for (let offset = 0; offset < blocks.byteLength; offset += 64) {
      addBlock(state, (index) => blocks.getInt32(offset + index * 4))
    }
    return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }

  /** @param {Int32Array} state @param {(index: number) => number} readWord */
  function addBlock(state, readWord) {
    const words = new Int32Array(64)
    for (let i = 0; i < 64; i++) {
      const [w2 = 0, w7 = 0, w15 = 0, w16 = 0] = [2, 7, 15, 16].map((back) => words[i - back])
      words[i] = i < 16 ? readWord(i) : mix(w15, 7, 18, 3) + mix(w2, 17, 19, 10) + w7 + w16
    }
    let [a, b, c, d, e, f, g, h] = /** @type {Eight} */ (Array.from(state))
    for (let i = 0; i < 64; i++) {
      const choice = (e & f) ^ (~e & g)
      const majority = (a & b) ^ (a & c) ^ (b & c)
      const one = h + turn(e, 6, 11, 25) + choice + (CUBE_ROOTS[i] || 0) + (words[i] || 0)
      const two = turn(a, 2, 13, 22) + majority
      ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0]
    }
    ;[a, b, c, d, e, f, g, h].forEach((word, index) => (state[index] = (state[index] || 0) + word))
  }

  /** @param {number} n */
  function isPrime(n) {
    for (let factor = 2; factor * factor <= n; factor++) if (n % factor === 0) return false
    return n > 1
  }

  /** @param {number} word @param {number} bits */
  function rotate(word, bits) {
    return (word >>> bits) | (word << (32 - bits))
  }

  /** @param {number} word @param {number} x @param {number} y @param {number} z */
  function turn(word, x, y, z) {
    return rotate(word, x) ^ rotate(word, y) ^ rotate(word, z)
  }

  /** @param {number} word @param {number} x @param {number} y @param {number} z */
  function mix(word, x, y, z) {
    return rotate(word, x) ^ rotate(word, y) ^ (word >>> z)
  }

  // --- start -----------------------------------------------------------------------------------

  fbq.callMethod = callMethod
  fbq.loaded = true
  fbq.version = VERSION
  fbq.queue = fbq.queue || []
  fbq.getState = function () {
    return {
      pixels: pixels.map((pixel) => ({
        id: pixel.id,
        userData: { ...pixel.userData },
        eventCount: pixel.eventCount,
        agent: pixel.agent,
      })),
    }
  }
  /** @param {string} id @param {any} plugin */
  fbq.registerPlugin = function (id, plugin) {
    if (findPixel(id)) plugin.plugin(fbq, instance, {})
  }
  drain()
})()
