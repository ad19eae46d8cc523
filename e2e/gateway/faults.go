package gateway

import (
	"sync"
	"time"
)

// Kind of a fault.
type Kind string

// The faults.
const (
	// Late : a new generation of the route is programmed and accepted only after Delay. Until then the one before carries the
	// traffic.
	Late Kind = "Late"
	// Unprogrammed : a new generation is accepted at once, but carries the traffic only after Delay.
	Unprogrammed Kind = "Unprogrammed"
	// Refused : a new generation is answered with Accepted=False and Reason. The one before goes on carrying the traffic.
	Refused Kind = "Refused"
	// Partial : of a new generation it is said that it is partially invalid and that the gateway falls back to the one before.
	Partial Kind = "Partial"
	// Reverted : another writer puts the weights of the moment in which the fault was set back, Times times.
	Reverted Kind = "Reverted"
)

// Fault is what goes wrong for a route, or for all.
type Fault struct {
	Kind Kind `json:"kind"`
	// Delay of Late and Unprogrammed.
	Delay time.Duration `json:"delay,omitempty"`
	// Reason of Refused. Default: UnsupportedValue.
	Reason string `json:"reason,omitempty"`
	// Times of Reverted.
	Times int `json:"times,omitempty"`
}

// Event is what happened to a route.
type Event struct {
	At time.Time `json:"at"`
	// Route is namespace/name.
	Route string `json:"route"`
	// What is "programmed", "accepted", "refused", "partial", "reverted" or "gone".
	What string `json:"what"`
	// Generation of the route that it is about.
	Generation int64 `json:"generation"`
	// Weights that the generation states: "shop-primary=80 shop-canary=20".
	Weights string `json:"weights"`
}

// faults of all routes, and what happened.
type faults struct {
	mu     sync.Mutex
	by     map[string]Fault
	events []Event
}

// maxEvents bounds what is remembered.
const maxEvents = 20000

// of returns the fault of a route: its own, or that of all routes.
func (f *faults) of(route string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if own, ok := f.by[route]; ok {
		return own
	}
	return f.by[""]
}

func (f *faults) set(route string, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault.Kind == "" {
		delete(f.by, route)
		return
	}
	if f.by == nil {
		f.by = map[string]Fault{}
	}
	f.by[route] = fault
}

// spend takes one of the times of a Reverted fault.
func (f *faults) spend(route string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range []string{route, ""} {
		if own, ok := f.by[key]; ok {
			own.Times--
			f.by[key] = own
			return
		}
	}
}

func (f *faults) record(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	if len(f.events) > maxEvents {
		f.events = f.events[len(f.events)-maxEvents:]
	}
}

func (f *faults) log(route string) []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []Event{}
	for _, e := range f.events {
		if route == "" || e.Route == route {
			out = append(out, e)
		}
	}
	return out
}
