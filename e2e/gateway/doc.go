// Package gateway is a data plane for tests: it routes real HTTP as HTTPRoutes say, and it can be told to be late, to refuse, to
// accept in part, to accept what it does not do yet, to be down, or to have its routes reverted by another writer. No product can be
// asked for that. Nothing of it is imported by Siskin.
//
// An HTTPRoute goes this way:
//
//	watch (watch.go) -> judge (status.go) -> stage: now, later or never (stage.go, faults.go) -> table (table.go) -> serve (proxy.go)
//
// Endpoints are not staged: a request looks them up in the moment it is sent.
//
// What it supports is in GatewayClass.status.supportedFeatures. What it does not know (redirects, CORS, ExtensionRefs, retries) it
// refuses, and never ignores.
package gateway
