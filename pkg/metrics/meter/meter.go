// Package meter names who counts the requests to the versions of an app. It is all that routers and metrics know of each other: a
// router tells what kind of meter its data plane is, and package metrics has the built-in queries for each kind.
package meter

import "slices"

// Kind of series that the built-in metrics are made of.
type Kind string

const (
	// App : what the app itself exports. The default: "" means it too.
	App Kind = "app"
	// Traefik : Traefik as a Gateway API implementation. It counts the requests of each route.
	Traefik Kind = "traefik"
	// Istio : Istio's sidecars or waypoints.
	Istio Kind = "istio"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{App, Traefik, Istio} }

// Known reports whether there are built-in queries for k.
func (k Kind) Known() bool { return k == "" || slices.Contains(Kinds(), k) }

// Counted reports whether these series tell of which route a request was, so that the share that reached the canary can be compared
// with the split.
func (k Kind) Counted() bool { return k == Traefik }
