// Package soak releases good and bad versions behind a data plane that goes wrong as told, under load, while everything around Siskin
// fails at random moments, and checks from outside that every rollout ends as the table says and that users notice nothing but
// what the table allows. See docs/testing.md.
package soak

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// Drain is how long Siskin lets a side that lost its traffic run on (its flag --drain, as kustomize/default leaves it).
const Drain = 5 * time.Second

const (
	// behind is how far a cache, or a watch of the test's, may be behind the API server.
	behind = time.Second
	// patience is how long traffic may stay with a canary that has no ready pod, while nothing hinders Siskin.
	patience = 10 * time.Second
)

// Span is a time in which something was wrong.
type Span struct{ From, To time.Time }

// overlaps tells whether two spans have a moment in common.
func (s Span) overlaps(from, to time.Time) bool { return !to.Before(s.From) && !from.After(s.To) }

// Laws are what must hold of one app, seen from outside.
type Laws struct {
	// App is the name of Canary, target and route; Size the number of pods that the primary never falls below.
	App  string
	Size int32
	// Hindered are the times in which Siskin could not act: no limit of time counts then.
	Hindered []Span
	// Foreign are the generations of the route that somebody else wrote.
	Foreign map[int64]bool
}

// Check goes through the changes of a namespace, in the API server's order, and returns every breach.
func (l Laws) Check(changes []fixtures.Change) []string {
	w := watcher{Laws: l, free: true}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case *siskinv1.Canary:
			w.terminating = o.DeletionTimestamp != nil && !c.Deleted
			w.owner = o.UID
			w.ours = !c.Deleted
		case *gatewayv1.HTTPRoute:
			w.route(c, o)
		case *discoveryv1.EndpointSlice:
			if o.Labels[discoveryv1.LabelServiceName] == l.App+"-canary" {
				w.endpoints(c, o)
			}
		case *appsv1.Deployment:
			switch o.Name {
			case l.App + "-canary":
				w.canary(c, o)
			case l.App + "-primary":
				w.primary(c, o)
			}
		}
		w.now = c.At
	}
	w.exposed(w.now)
	return w.found
}

// watcher is the state between two changes.
type watcher struct {
	Laws

	found             []string
	now               time.Time
	terminating, ours bool
	owner             types.UID // of the Canary that is there

	weight, mirror int32
	free           bool // the data plane has taken a route that sends nothing to the canary
	freeSince      time.Time

	ready     int
	readyLast time.Time // when it was ready last
	nobody    time.Time // since when traffic has found no ready pod

	replicas, primaryReplicas int32
	revision                  string
}

func (w *watcher) breach(c fixtures.Change, law string, args ...any) {
	w.found = append(w.found, fmt.Sprintf(law, args...)+" ["+c.String()+"]")
}

func (w *watcher) hindered(from, to time.Time) bool {
	for _, s := range w.Hindered {
		if s.overlaps(from, to) {
			return true
		}
	}
	return false
}

func (w *watcher) route(c fixtures.Change, route *gatewayv1.HTTPRoute) {
	weight, mirror, accepted := fixtures.Routed(route, "-canary")
	if c.Deleted {
		weight, mirror, accepted = 0, 0, true
	}
	rest, _, _ := fixtures.Routed(route, "-primary")
	if !c.Deleted && weight+rest != 100 && (weight > 0 || rest > 0) {
		w.breach(c, "weights sum to %d, not to 100", weight+rest)
	}
	more := weight > w.weight || mirror > w.mirror
	if more && !w.Foreign[route.Generation] && w.ready == 0 && c.At.Sub(w.readyLast) > behind {
		w.breach(c, "traffic to a canary without a ready pod")
	}
	none := weight == 0 && mirror == 0
	switch {
	case !none:
		w.free = false
	case accepted && !w.free:
		w.free, w.freeSince = true, c.At
	}
	w.weight, w.mirror = weight, mirror
	w.exposed(c.At)
}

func (w *watcher) endpoints(c fixtures.Change, slice *discoveryv1.EndpointSlice) {
	if w.ready > 0 {
		w.readyLast = c.At
	}
	w.ready = fixtures.Ready(slice)
	if c.Deleted {
		w.ready = 0
	}
	w.exposed(c.At)
}

// exposed watches how long traffic finds no ready pod at the canary.
func (w *watcher) exposed(at time.Time) {
	if w.weight > 0 && w.ready == 0 {
		if w.nobody.IsZero() {
			w.nobody = at
		}
		return
	}
	if !w.nobody.IsZero() {
		if d := at.Sub(w.nobody); d > patience && !w.hindered(w.nobody, at) {
			w.found = append(w.found, fmt.Sprintf("traffic stayed for %s with a canary without a ready pod, until %s", d, at.Format("15:04:05.000")))
		}
		w.nobody = time.Time{}
	}
}

func (w *watcher) canary(c fixtures.Change, d *appsv1.Deployment) {
	n, revision := fixtures.Replicas(d), d.Annotations[siskinv1.RevisionAnnotation]
	if c.Deleted {
		n, revision = 0, ""
	}
	switch {
	case n == 0 && w.replicas > 0:
		w.mayGo(c, "scaled to zero")
	case w.replicas > 0 && revision != w.revision && w.revision != "":
		w.mayGo(c, "replaced")
	}
	w.replicas, w.revision = n, revision
}

// mayGo demands that nothing reaches the canary, that the data plane has confirmed it, and that there was time to drain.
func (w *watcher) mayGo(c fixtures.Change, what string) {
	if !w.free {
		w.breach(c, "the canary is %s with %d %% of the traffic (mirror %d %%), or before the data plane confirmed that it has none", what, w.weight, w.mirror)
		return
	}
	// The watch of the routes may be behind that of the Deployments; one that was hindered tells late since when the canary is free: what was
	// so before counts as seen only then.
	if d := c.At.Sub(w.freeSince); !w.freeSince.IsZero() && d < Drain-behind && !w.hindered(w.freeSince.Add(-Drain), c.At) {
		w.breach(c, "the canary is %s %s after it lost its traffic: less than %s", what, d, Drain)
	}
}

func (w *watcher) primary(c fixtures.Change, d *appsv1.Deployment) {
	n := fixtures.Replicas(d)
	if c.Deleted {
		n = 0
	}
	// What an earlier Canary of that name has left is collected while the target serves and the new Canary waits for that.
	of := metav1.GetControllerOf(d)
	ours := w.ours && (of == nil || of.UID == w.owner)
	if n < w.Size && n < w.primaryReplicas && ours && !w.terminating {
		w.breach(c, "the primary goes from %d to %d pods, below %d", w.primaryReplicas, n, w.Size)
	}
	w.primaryReplicas = n
}
