// Bridge: gives each event the same id in the Meta Pixel and on the server.
// scripts/minify turns this file into bridge.min.js, which is served. The script finds its server
// by its own address.
//
// Strategy: every call of `fbq` goes through `handleCall`, whoever made it and whoever loaded the
// pixel. There it waits for consent, gets an id, and a copy of it is queued for the server. So a
// page's own pixel, ours, and `bridge.track` behave alike. Hits that the pixel makes by itself are
// caught where they leave: in `Image`.
//
// The server speaks through cookies: `_bridge_x` (settings) and one `_bridge_t_…` for each
// server-born event whose browser copy is still to be fired. The browser reports to `collect`.
;(() => {
  /**
   * @typedef {'granted' | 'limited' | 'denied'} Choice
   * @typedef {Choice | 'pending'} ConsentState
   * @typedef {{ x?: string, d?: string, c?: ConsentState }} Settings
   *   external id, domain of our cookies, consent (granted if missing)
   * @typedef {{ n: string, i: string, d?: Record<string, unknown>, u?: string }} Twin name, id,
   *   custom data, what to ask the server if it may not have stored the event
   * @typedef {'sent' | 'blocked' | 'unknown'} CopyState
   * @typedef {{ event_name: string, event_id: string, custom_data: unknown, url: string,
   *   referrer: string, at: number, state?: CopyState }} QueuedEvent `at` in Unix ms
   * @typedef {{ event_name: string, event_id: string, state: CopyState }} Ack
   * @typedef {{ stored: string[], refused: { event_id: string }[] }} Answer
   * @typedef {any[]} Call the arguments of `fbq`
   * @typedef {{ url: string, referrer: string, at: number }} Moment where and when it happened
   * @typedef {[call: Call, ours: boolean, moment: Moment]} WaitingCall
   */

  // The server writes the configured address here: a cookie could be forged, and name any script.
  const PIXEL_URL = 'https://connect.facebook.net/en_US/fbevents.js'
  const pixelIds = ['__PIXEL_IDS__'] // ours, written here for the same reason
  const QUEUE_PREFIX = '_bridge.q.' // localStorage: a key for each event, so tabs never overwrite
  const FIRED_KEY = '_bridge.t'
  const MAX_FIRED = 50 // twins whose ids are kept
  const MAX_QUEUED = 100 // events
  const MAX_QUEUED_AGE = 48 * 3600e3 // ms
  const MAX_BATCH = 20 // events in one request
  const MAX_REPORT = 20e3 // characters in one request; browsers allow 64 KiB in flight
  const CHOICE_MAX_AGE = 180 * 86400 // s
  const STATE_TIMEOUT = 5e3 // ms until a hit that was not seen counts as unknown
  const FLUSH_DELAY = 50 // ms, to send several reports in one request
  const RETRY_DELAY = 10e3 // ms
  const TWIN_LOCK = 500 // ms
  const MAX_DELAY = 1e9 // ms; beyond 2^31 a timer fires at once
  // URL-encoded characters of custom data, page address and referrer in one hit. With the rest of
  // it, a hit stays below 2048; above, the pixel uses a transport that dies on navigation.
  const HIT_ROOM = 800
  const MIN_DATA_ROOM = 60 // at least this for data: value and currency
  const KEPT_FIRST = 'value currency content_ids content_type order_id'
  const VIEW = 'PageView'
  const HIT = /\/tr\/?\?/
  const LIBRARY = /\/fbevents\.js|\/signals\/config\//

  const element = /** @type {HTMLScriptElement | null} */ (document.currentScript)
  const page_ = /** @type {any} */ (window)
  if (!element || page_._bridge) return
  const base = new URL('.', element.src).href

  /** @type {Settings | undefined} */
  let settings
  let active = false // consent is given: before that, nothing is fired, stored or sent
  let paused = false // the page itself revoked consent with `fbq('consent', 'revoke')`
  let revoked = false // in the pixel; a second revoke would wait behind the first
  let limited = false
  let blocked = false // the pixel cannot work on this page
  let loading = false
  const address = () => location.href.replace(/#.*/, '') // where the visitor is
  let view = address()
  let referrer = document.referrer
  const landing = view
  let viewId = '' // event id of this page's PageView
  let automaticId = '' // event id of the PageView that the pixel is making by itself
  /** @type {WaitingCall[]} */
  let waitingCalls = [] // until consent is given
  /** @type {string[]} */
  let newPixels = [] // that the page initialised since this page's PageView
  /** @type {Set<string>} */
  const initialised = new Set() // our pixels whose init was sent, though it may still wait
  /** @type {Map<string, QueuedEvent>} */
  const queued = new Map() // by their keys in localStorage
  let batch = MAX_BATCH
  /** @type {Map<string, string>} */
  const unseen = new Map() // ids of events whose hit was not seen yet; a twin's with its name
  /** @type {Ack[]} */
  let acks = []
  let flushTimer = 0
  let flushing = false
  let resumeAt = 0 // Unix ms: nothing is sent before
  let choiceCount = 0 // made on this page so far: only the answer to the last one counts

  /**
   * Do what a browser may forbid, or what text from elsewhere may make fail; ignore the error.
   * @template T
   * @param {() => T} work
   * @returns {T | undefined}
   */
  const attempt = (work) => {
    try {
      return work()
    } catch {
      return undefined
    }
  }

  // 128 bits. Not randomUUID: plain http has none.
  const newId = () => crypto.getRandomValues(new Uint32Array(4)).join('-')

  /** @returns {Moment} */
  const now = (url = location.href) => ({ url, referrer, at: Date.now() })

  /**
   * Listen before the page's own listeners do.
   * @param {EventTarget} target
   * @param {string} name
   * @param {(event: any) => void} work
   */
  const on = (target, name, work) => target.addEventListener(name, work, true)

  // --- what the server says ---

  /** @param {string} prefix @returns names and values; a damaged value is undefined */
  const readCookies = (prefix) =>
    document.cookie
      .split('; ')
      .filter((cookie) => cookie.startsWith(prefix))
      .map((cookie) => cookie.split('='))
      .map(([name, value]) => [
        name,
        attempt(() => JSON.parse(atob(/** @type {string} */ (value)))),
      ])

  // A Blob: fetch and sendBeacon both send its type.
  /** @param {unknown} value */
  const toBody = (value) => new Blob([JSON.stringify(value)], { type: 'application/json' })

  /** @param {string} path @param {Blob} [body] of a POST */
  const request = (path, body) =>
    fetch(base + path, {
      method: body && 'POST',
      cache: 'no-store',
      credentials: 'include',
      keepalive: true,
      body,
    })

  /** @param {string} path @param {Blob} [body] */
  const requestJson = async (path, body) => {
    const answer = await request(path, body)
    if (!answer.ok) throw answer
    return answer.json()
  }

  const readSettings = async () => {
    // The cookie may be older than the browser's Global Privacy Control.
    const gpc = /** @type {any} */ (navigator).globalPrivacyControl
    const found = readCookies('_bridge_x').find(([, value]) => value && (value.c || !gpc))
    // A server on another subdomain has not seen the click id of this page's address.
    return /** @type {Settings} */ (
      found ? found[1] : await requestJson('identity' + location.search)
    )
  }

  // --- the pixel ---

  /** @param {...any} call */
  const intercept = (...call) => handleCall(call)

  // Also true where a blocker has put something else in the pixel's place.
  const own = !page_.fbq?.queue
  /** @type {any} */
  const pixel = own ? intercept : page_.fbq
  if (own) {
    page_.fbq = Object.assign(pixel, {
      push: pixel,
      loaded: true,
      version: '2.0',
      queue: [],
      // Our views carry ids; the pixel's own PageViews would not, and it drops all but the first.
      disablePushState: true,
      allowDuplicatePageViews: true,
    })
    page_._fbq = pixel // the library warns if the two differ
  }
  /** @type {((...call: Call) => void) | undefined} */
  let library // the pixel's own function, once loaded

  const states = () => /** @type {any[]} */ (pixel.getState?.().pixels || [])

  const hasSent = () => states().some((state) => state.eventCount)

  /** @param {Call} call @param {string} id */
  const isInitOf = ([method, of], id) => method === 'init' && String(of) === id

  /** @param {string} id */
  const stateOf = (id) => states().find((state) => state.id === id)

  /** @param {Call} call */
  const send = (call) => {
    if (blocked) return // nothing would ever empty the queue
    if (library) library.apply(pixel, call)
    else [].push.call(pixel.queue, /** @type {never} */ (call)) // its own `push` is ours
  }

  // Called after each script that loads. Wraps once: if others wrap ours, twice would be a loop.
  const wrapLibrary = () => {
    if (pixel.callMethod && !library) {
      delete pixel.queue.push
      library = pixel.callMethod
      pixel.callMethod = intercept
    }
  }

  const loadPixel = () => {
    if (!own || loading || !pixelIds.length) return
    loading = true
    const script = document.createElement('script')
    script.async = true
    script.src = PIXEL_URL
    document.head.append(script)
  }

  // With a country or state other than 0 the pixel would silently ignore the option.
  const limitDataUse = () => {
    if (limited) send(['dataProcessingOptions', []])
    limited = settings?.c === 'limited'
    if (limited) send(['dataProcessingOptions', ['LDU'], 0, 0])
  }

  // Calls that wait for the library or for a pixel's configuration are taken back: the pixel would
  // never reach a grant behind a waiting revoke.
  const pausePixel = () => {
    for (const call of pixel.queue.splice(0)) {
      if (call[3]?.eventID === viewId) viewId = ''
      if (call[0] !== 'consent') handleCall([...call])
    }
    initialised.clear()
    if (!library || revoked || !states().length) return
    revoked = true
    library('consent', 'revoke')
  }

  const resumePixel = () => {
    if (!revoked || !library) return
    revoked = false
    pixel.queue.length = 0 // calls that the pixel made by itself meanwhile
    library('consent', 'grant')
  }

  // --- calls of the pixel ---

  /**
   * Pass a call of `fbq` on to the pixel, the page's or ours, with what we add.
   * @param {Call} call
   * @param {boolean} [ours]
   * @param {Moment} [moment]
   */
  const handleCall = (call, ours = false, moment = now()) => {
    const [method, id] = call
    const kind = /^track(Single)?(Custom)?$/.exec(method)
    if (method === 'consent') {
      paused = id === 'revoke'
      revoked ||= !paused
      if (settings) apply(settings)
    } else if (!active) {
      const isUnwanted = kind && settings?.c === 'denied'
      if (waitingCalls.length < MAX_QUEUED && !isUnwanted) waitingCalls.push([call, ours, moment])
    } else if (kind) {
      handleEvent(call, kind[1], ours, moment)
    } else if (method !== 'init' || handleInit(call, String(id))) {
      // Limited Data Use is the visitor's choice, not the page's.
      if (!limited || method !== 'dataProcessingOptions') send(call)
    }
  }

  /** @param {Call} call @param {string} id @returns whether to pass it on */
  const handleInit = (call, id) => {
    if (pixelIds.includes(id)) {
      const waiting = pixel.queue.find((/** @type {Call} */ call) => isInitOf(call, id))
      const userData = typeof call[2] === 'object' ? { ...call[2] } : {}
      userData.external_id ||= settings?.x
      if (waiting) Object.assign(waiting[2], userData)
      if (initialised.has(id) || Object.keys(stateOf(id)?.userData || {})[0]) return false
      initialised.add(id)
      call[2] = userData
    }
    newPixels.push(id)
    return true
  }

  /** @param {Call} call @param {string | undefined} single @param {boolean} ours @param {Moment} moment */
  const handleEvent = (call, single, ours, moment) => {
    const start = call.slice(0, single ? 3 : 2) // up to the name
    const name = start.at(-1)
    const [properties, options] = call.slice(start.length)
    const data = Object(properties) === properties ? properties : {}
    const ownId = options?.eventID ?? options?.event_id
    // For a pixel that is not ours, or with a name or id that the pixel would not accept.
    const isForeign = single && !pixelIds.includes(String(call[1]))
    if (isForeign || typeof name !== 'string' || Object(ownId) === ownId) return send(call)
    const isView = name === VIEW && (own || !single)
    if (isView && !ours && (own || !pixel.allowDuplicatePageViews)) {
      // The pixel decides whether to send it; a hit that leaves gets its id in `stampHit`.
      if (isLate) return send(call)
      if (viewId) return single || sendViewToNewPixels(data)
    }
    const id = String(ownId || newId())
    if (isView) {
      viewId = id
      newPixels = []
    }
    record(name, id, data, moment)
    const rest = [trim(data), { ...options, eventID: id }]
    // A page's own pixel would drop a second PageView.
    if (isView && !own && ours) pixelIds.forEach((one) => send(['trackSingle', one, name, ...rest]))
    else send([...start, ...rest])
  }

  /** @param {unknown} data of a PageView that the other pixels already have */
  const sendViewToNewPixels = (data) =>
    newPixels.splice(0).forEach((id) => send(['trackSingle', id, VIEW, data, { eventID: viewId }]))

  /**
   * Keep what fits one hit, the most useful first. The server copy carries everything; the server
   * trims a twin's data in the same way (bridge/browser/script_cookies.py).
   * @param {any} data
   */
  const trim = (data) => {
    /** @type {Record<string, unknown>} */
    const kept = {}
    const taken = encodeURIComponent(location.href + referrer).length
    let room = Math.max(HIT_ROOM - taken, MIN_DATA_ROOM)
    for (const key of new Set([...KEPT_FIRST.split(' '), ...Object.keys(data)])) {
      const length = attempt(
        () => encodeURIComponent('&cd[]=' + key + JSON.stringify(data[key])).length,
      )
      // Without a length it is not JSON: neither copy could carry it.
      if (data[key] == null || !length || length > room) continue
      kept[key] = data[key]
      room -= length
    }
    return kept
  }

  // --- twins of server-born events ---

  /** @param {string} key @returns whether this browser fired that twin before */
  const wasFired = (key) =>
    attempt(() => {
      // Without storage, only two tabs at once can fire a twin twice: its cookie is deleted.
      const fired = /** @type {string[]} */ (JSON.parse(localStorage[FIRED_KEY] || '[]'))
      const isOld = fired.includes(key)
      if (!isOld) localStorage[FIRED_KEY] = JSON.stringify([key, ...fired].slice(0, MAX_FIRED))
      return isOld
    })

  const fireTwins = () => {
    if (!active) return
    for (const [name, twin] of readCookies('_bridge_t_')) {
      setCookie(name, '', 0)
      if (!twin || wasFired(twin.n + twin.i)) continue
      if (twin.u)
        request('twin?u=' + twin.u)
          .then((answer) => answer.ok && fireTwin(twin))
          .catch(() => {})
      else fireTwin(twin)
    }
  }

  // The lock is held until another process sees that the cookie is gone: that takes a moment.
  const fireAlone = () => new Promise((done) => setTimeout(done, TWIN_LOCK, fireTwins()))

  // In one tab at a time, where the browser has locks: two must not read the same cookie.
  const checkTwins = () => {
    checkRefusal()
    // A sandboxed frame may not even read its cookies; it never becomes active.
    if (!active || !document.cookie.includes('_bridge_t_')) return
    navigator.locks?.request('_bridge', fireAlone) ?? fireTwins()
  }

  /** @param {Twin} twin */
  const fireTwin = ({ n, i, d = {} }) => {
    if (!active) return
    watchHit(i, n)
    send(['trackCustom', n, trim(d), { eventID: i }])
  }

  // --- was the browser copy sent? ---

  // Meta merges on external id and fbp only if the browser copy came first. So an event, or that a
  // twin was fired, is reported to the server only once its hit was seen, or will not come.
  /** @param {string} id @param {string} twin its name, or '' */
  const watchHit = (id, twin) => {
    unseen.set(id, twin)
    if (blocked) settle(id, 'blocked')
    setTimeout(() => {
      // The library may have failed before this script listened for its error.
      if (!library && performance.getEntries().some(({ name }) => isLibrary(name))) block()
      // With no hit at all, the events wait for a configuration that will not come.
      settle(id, library && !hasSent() ? 'blocked' : 'unknown')
    }, STATE_TIMEOUT)
  }

  /** @param {string} id @param {CopyState} state */
  const settle = (id, state) => {
    const twin = unseen.get(id)
    if (!unseen.delete(id)) return
    if (twin) acks.push({ event_name: twin, event_id: id, state })
    queued.forEach((event) => event.event_id === id && (event.state = state))
    scheduleFlush(FLUSH_DELAY)
  }

  /** @param {CopyState} state */
  const settleAll = (state) => unseen.forEach((_, id) => settle(id, state))

  const block = () => {
    blocked = true
    // A blocker's empty function would swallow the page's calls; a pixel that works stays.
    if (!page_.fbq?.callMethod) page_.fbq = pixel
    pixel.queue.length = 0
    settleAll('blocked')
  }

  /** @param {any} url */
  const isLibrary = (url) => url === PIXEL_URL || LIBRARY.test(url)

  /** @param {URLSearchParams} hit */
  const idOf = (hit) => hit.get('eid') || ''

  /**
   * Watch a hit that leaves, and give an id to a PageView that the pixel made by itself: after a
   * return from the back/forward cache, or on any navigation if the page's pixel was there first.
   * @param {HTMLImageElement} image
   * @param {string} url
   */
  const stampHit = (image, url) => {
    if (!HIT.test(url)) return url
    const hit = new URL(url).searchParams
    let id = idOf(hit)
    if (!id && active && hit.get('ev') === VIEW && pixelIds.includes(hit.get('id') || '')) {
      if (!automaticId) {
        automaticId = newId()
        record(VIEW, automaticId, {}, now())
        setTimeout(() => (automaticId = '')) // the hits of all pixels are made in one task
      }
      id = automaticId
      url += '&eid=' + id
    }
    if (unseen.has(id)) {
      on(image, 'load', () => settle(id, 'sent'))
      // Blocked, or answered with something other than an image: a second request shows which.
      on(image, 'error', () =>
        fetch(/** @type {string} */ (url.split('?')[0]), {
          mode: 'no-cors',
          credentials: 'omit',
        }).then(
          () => settle(id, 'sent'),
          () => settle(id, 'blocked'),
        ),
      )
    }
    return url
  }

  const watchHits = () => {
    page_.Image = new Proxy(page_.Image, {
      construct(...made) {
        const image = Reflect.construct(...made)
        // Removed at its first use.
        Object.defineProperty(image, 'src', {
          configurable: true,
          get: () => delete image.src && image.src,
          set(url) {
            delete image.src
            image.src = attempt(() => stampHit(image, url)) || url
          },
        })
        return image
      },
    })
    on(document, 'error', ({ target }) => isLibrary(target.src) && block())
    on(document, 'load', ({ target }) => {
      wrapLibrary() // the page's own server may serve it under another name
      if (!library && isLibrary(target.src)) block()
    })
    on(document, 'securitypolicyviolation', ({ disposition, blockedURI }) => {
      if (disposition !== 'enforce') return
      if (isLibrary(blockedURI)) block()
      else attempt(() => settle(idOf(new URL(blockedURI).searchParams), 'blocked'))
    })
  }

  // Any request of the page may have brought a new twin. No function of the page is patched for it.
  const watchRequests = () => new PerformanceObserver(checkTwins).observe({ type: 'resource' })

  // --- events born in the browser ---

  /** @param {string} name @param {string} id @param {unknown} data @param {Moment} moment */
  const record = (name, id, data, moment) => {
    /** @type {QueuedEvent} */
    const event = { event_name: name, event_id: id, custom_data: data, ...moment }
    const key = QUEUE_PREFIX + name + id // pages use one id for several events
    attempt(() => {
      const text = JSON.stringify(event)
      if (queued.size >= MAX_QUEUED || text.length > MAX_REPORT) return
      queued.set(key, event)
      localStorage[key] = text // if that fails, it is kept while this page lives
    })
    watchHit(id, '')
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} [properties] Meta's custom data
   * @param {{ eventID?: string, url?: string }} [options] `url` where it happened, for a widget in a
   *   frame of its own
   * @returns the event id of both copies
   */
  const track = (name, properties, options) => {
    const id = String(options?.eventID || newId())
    checkRefusal()
    handleCall(['trackCustom', name, properties, { eventID: id }], true, now(options?.url))
    return id
  }

  const page = () => track(VIEW)

  // --- reports to the server ---

  /** @param {number} delay ms */
  const scheduleFlush = (delay) => {
    clearTimeout(flushTimer)
    flushTimer = setTimeout(flush, Math.max(delay, resumeAt - Date.now()))
  }

  /** @param {string} prefix */
  const listKeys = (prefix) => Object.keys(localStorage).filter((key) => key.startsWith(prefix))

  // Load what earlier pages could not send. Remove damaged, old and surplus entries.
  const loadQueue = () =>
    attempt(() => {
      for (const key of listKeys(QUEUE_PREFIX)) {
        if (queued.has(key)) continue
        const event = attempt(() => /** @type {QueuedEvent} */ (JSON.parse(localStorage[key])))
        const isUsable = event && Date.now() - event.at < MAX_QUEUED_AGE && queued.size < MAX_QUEUED
        if (isUsable) queued.set(key, event)
        else delete localStorage[key]
      }
    })

  // The next report: events whose hit was seen or given up, and acknowledgements of twins.
  const buildReport = () => {
    const sent = []
    let room = MAX_REPORT
    for (const entry of queued) {
      if (unseen.has(entry[1].event_id)) continue
      room -= JSON.stringify(entry).length
      if (sent[0] && (room < 0 || sent.length >= batch)) break
      sent.push(entry)
    }
    const sentAcks = acks.splice(0, MAX_BATCH)
    const body = toBody({
      events: sent.map(([, { at, ...event }]) => ({
        ...event,
        age_ms: Date.now() - at,
      })),
      acks: sentAcks,
    })
    return /** @type {const} */ ([(sent[0] || sentAcks[0]) && body, sent, sentAcks])
  }

  const flush = async () => {
    if (flushing || !active) return
    const [body, sent, sentAcks] = buildReport()
    if (!body) return
    flushing = true
    let delay = RETRY_DELAY
    /** @type {string[]} */
    let handled = []
    try {
      const answer = await request('collect', body)
      if (answer.ok) {
        const { stored, refused } = /** @type {Answer} */ (await answer.json())
        if (refused[0]) console.warn(refused)
        handled = [...stored, ...refused.map((each) => each.event_id)]
        if (sentAcks.splice(0)[0] || handled[0]) delay = 0
      } else
        delay =
          Math.min(+(/** @type {string} */ (answer.headers.get('retry-after'))) * 1e3, MAX_DELAY) ||
          delay
    } catch {
      // offline, or the visitor leaves: the next page sends
    }
    // One event that always fails must not hold up the others: from now on each is sent alone, and
    // what failed goes to the end of the queue.
    if (delay) batch = 1
    for (const [key, event] of sent) {
      if (queued.delete(key) && !handled.includes(event.event_id)) queued.set(key, event)
      else attempt(() => delete localStorage[key])
    }
    acks.push(...sentAcks)
    flushing = false
    resumeAt = Date.now() + delay
    scheduleFlush(0)
  }

  const reportOnLeave = () => {
    settleAll('unknown')
    const body = active && buildReport()[0]
    if (body) navigator.sendBeacon(base + 'collect', body) // outlives the page
  }

  // --- views ---

  const onNavigation = () => {
    const before = view
    view = address()
    if (before === view) return
    referrer = before
    if (!own && !blocked) return // the page's own pixel notices by itself
    viewId = ''
    if (active) page()
  }

  const watchViews = () => {
    for (const name of /** @type {const} */ (['pushState', 'replaceState'])) {
      const original = history[name]
      history[name] = function (...args) {
        original.apply(this, args)
        onNavigation()
      }
    }
    on(window, 'popstate', onNavigation)
    on(window, 'pageshow', checkTwins)
    on(window, 'pagehide', reportOnLeave)
    on(window, 'online', () => scheduleFlush((resumeAt = 0)))
    on(document, 'visibilitychange', () => (document.hidden ? reportOnLeave() : checkTwins()))
  }

  // --- consent ---

  /** @param {Settings} found */
  const apply = (found) => {
    settings = found
    active = !paused && found.c !== 'denied' && found.c !== 'pending'
    if (!active) {
      pausePixel()
      if (found.c === 'denied') forgetEvents()
      return
    }
    resumePixel()
    attempt(loadPixel) // Trusted Types may forbid it
    limitDataUse()
    const isStranger = isLate && !pixelIds.some(stateOf)
    // The pixel keeps the first user data it gets: a page's own init has more of it.
    for (const id of pixelIds) {
      if (!waitingCalls.some(([call]) => isInitOf(call, id))) handleCall(['init', id])
    }
    loadQueue()
    waitingCalls.splice(0).forEach((call) => handleCall(...call))
    if ((own || isStranger) && !viewId) page()
    checkTwins()
    scheduleFlush(0)
  }

  const forgetEvents = () => {
    waitingCalls = waitingCalls.filter(
      ([[method, name]]) => !/^track/.test(method) || name === VIEW,
    )
    acks = []
    unseen.clear()
    queued.clear()
    attempt(() => listKeys('_bridge.').forEach((key) => delete localStorage[key]))
  }

  /**
   * @param {Choice} [choice]
   * @returns the consent that now holds, in the browser and on the server
   */
  const consent = async (choice) => {
    if (choice && !['granted', 'limited', 'denied'].includes(choice))
      throw Error(choice + ': expected granted, limited or denied')
    const number = choice ? ++choiceCount : choiceCount
    if (choice) setCookie('_bridge_c', '', 0) // an old refusal may be on another domain
    if (choice === 'denied') refuse()
    await ready
    if (choice) {
      const body = toBody({ state: choice, url: landing })
      const found = await requestJson('consent', body).catch(() => {})
      if (found && number === choiceCount) apply(found)
    }
    return settings?.c || 'granted'
  }

  /** @param {string} name @param {string} value @param {number} maxAge seconds */
  const setCookie = (name, value, maxAge) => {
    const domain = settings?.d ? `; Domain=.${settings.d}` : ''
    document.cookie = `${name}=${value}; Max-Age=${maxAge}; Path=/; SameSite=Lax${domain}`
  }

  // At once, even if the request to the server fails.
  const refuse = () => {
    setCookie('_bridge_c', 'denied', CHOICE_MAX_AGE)
    setCookie('_bridge_x', '', 0)
    deny()
  }

  const deny = () => apply({ c: 'denied', d: settings?.d })

  // The visitor may have refused in another tab, or on a page after this one.
  const checkRefusal = () => {
    if (active && /\b_bridge_c=denied\b/.test(document.cookie)) deny()
  }

  // --- start ---

  wrapLibrary()
  // Hits sent before this script came have no id.
  const isLate = hasSent()
  const waiting = pixel.queue.splice(0)
  // A loaded library leaves an init waiting only if the page revoked consent first.
  paused = revoked =
    !!library && !states().length && waiting.some((/** @type {Call} */ call) => call[0] === 'init')
  waiting.forEach((/** @type {Call} */ call) => handleCall([...call]))
  if (!library) pixel.queue.push = (/** @type {any} */ call) => handleCall([...call])
  watchHits()
  watchRequests()
  watchViews()

  const loadSettings = async () => {
    const found = await readSettings().catch(() => void setTimeout(loadSettings, RETRY_DELAY))
    // The visitor may have refused meanwhile. Without an answer, nothing is allowed.
    if (found && !settings) apply(found)
  }

  const prerendered = /** @type {any} */ (document).prerendering
  const ready = prerendered
    ? new Promise((shown) => on(document, 'prerenderingchange', shown)).then(loadSettings)
    : loadSettings()

  const before = page_.bridge
  const api = {
    track,
    page,
    consent,
    identity: () => (settings?.x ? { external_id: settings.x } : null),
    /** @param {[string, any?, any?, any?]} call */
    push: ([name, ...args]) => /** @type {any} */ (api)[name]?.(...args),
  }
  page_._bridge = api
  // The page may use this name for something else; so may an element's id.
  if (!before || before.push || before.id) page_.bridge = api
  attempt(() => before.forEach((/** @type {any} */ call) => attempt(() => api.push(call))))
})()
