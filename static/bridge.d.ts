/**
 * Types of `bridge` and `window.bridge`, for apps in TypeScript and for pages with `// @ts-check`.
 * Copy this file, or refer to it: `/// <reference path="…/bridge.d.ts" />`
 */

/** The visitor's consent, in the browser and on the server; `pending` until there is a choice. */
type BridgeConsent = BridgeChoice | 'pending'

/** What the visitor may choose. */
type BridgeChoice = 'granted' | 'limited' | 'denied'

/** Meta's standard events; others must be listed on the server (`custom_events`). */
type BridgeEvent =
  | 'AddPaymentInfo'
  | 'AddToCart'
  | 'AddToWishlist'
  | 'CompleteRegistration'
  | 'Contact'
  | 'CustomizeProduct'
  | 'Donate'
  | 'FindLocation'
  | 'InitiateCheckout'
  | 'Lead'
  | 'PageView'
  | 'Purchase'
  | 'Schedule'
  | 'Search'
  | 'StartTrial'
  | 'SubmitApplication'
  | 'Subscribe'
  | 'ViewContent'
  | (string & {})

interface BridgeOptions {
  /** An order's own id; random by default. */
  eventID?: string
  /** The page it happened on, if another than this: for a widget in a frame of its own. */
  url?: string
}

/** Meta's custom data; other keys are allowed too. */
interface BridgeProperties {
  value?: number
  /** ISO 4217, three letters. */
  currency?: string
  content_ids?: string[]
  content_type?: 'product' | 'product_group'
  contents?: { id: string; quantity: number; item_price?: number }[]
  content_name?: string
  content_category?: string
  num_items?: number
  order_id?: string
  search_string?: string
  status?: string
  [key: string]: unknown
}

interface BridgeApi {
  /**
   * Send an event to Meta, through the pixel and through the server.
   * @returns the event id of both copies
   */
  track(name: BridgeEvent, properties?: BridgeProperties, options?: BridgeOptions): string
  /** Send a PageView; page loads and history changes do so by themselves. */
  page(): string
  /** Set the visitor's choice, if given; resolves to the consent that now holds. */
  consent(choice?: BridgeChoice): Promise<BridgeConsent>
  /** The visitor's external id, or null without consent and until it is known. */
  identity(): { external_id: string } | null
  push(call: BridgeCall): unknown
}

/** A call that may be made before the script has loaded. */
type BridgeCall =
  ['track', BridgeEvent, BridgeProperties?, BridgeOptions?] | ['page'] | ['consent', BridgeChoice]

interface Window {
  get bridge(): BridgeApi
  /** An array of calls until the script has loaded: `window.bridge = window.bridge || []`. */
  set bridge(api: BridgeApi | BridgeCall[])
}

/** `window.bridge`; before the script has loaded, only `push` is there. */
declare const bridge: BridgeApi
