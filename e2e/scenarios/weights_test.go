package scenarios

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// weight is the canary's share as a route stated it from a moment on.
type weight struct {
	At     time.Time
	Canary int32
}

// weights records a route's weights.
type weights struct {
	changes chan weight

	mu  sync.Mutex
	log []weight
}

func (w *weights) all() []weight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]weight(nil), w.log...)
}

// until waits until the route states a weight, and returns all that it stated: the status tells what was decided before the route is written.
func (w *weights) until(s *fixtures.Story, canary int32) []weight {
	s.Helper()
	var all []weight
	cluster.Eventually(s, 10*time.Second, func(context.Context) error {
		if all = w.all(); len(all) == 0 || all[len(all)-1].Canary != canary {
			return fmt.Errorf("the canary does not have %d%% in the end: %+v", canary, all)
		}
		return nil
	})
	return all
}

// watchWeights records the weights of the story's route until the story ends. The first is the present one, which is no change.
func watchWeights(s *fixtures.Story) *weights {
	s.Helper()
	var list gatewayv1.HTTPRouteList
	watcher, err := s.API.Watch(s.Context(), &list, client.InNamespace(s.NS))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(watcher.Stop)
	w := &weights{changes: make(chan weight, 100)}
	go func() {
		for event := range watcher.ResultChan() {
			route, ok := event.Object.(*gatewayv1.HTTPRoute)
			if !ok {
				continue
			}
			if share, ok := share(route, s.App.Name+"-canary"); ok {
				w.add(weight{At: time.Now(), Canary: share})
			}
		}
	}()
	return w
}

func (w *weights) add(now weight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.log); n > 0 {
		if w.log[n-1].Canary == now.Canary {
			return
		}
		select {
		case w.changes <- now:
		default:
		}
	}
	w.log = append(w.log, now)
}

// share is the weight in the last rule, which is for everybody whom no other rule selects.
func share(route *gatewayv1.HTTPRoute, backend string) (int32, bool) {
	if len(route.Spec.Rules) == 0 {
		return 0, false
	}
	for _, ref := range route.Spec.Rules[len(route.Spec.Rules)-1].BackendRefs {
		if string(ref.Name) == backend && ref.Weight != nil {
			return *ref.Weight, true
		}
	}
	return 0, false
}

// stepped checks that the route stated these weights of the canary, in this order, each of them only after its gateway had confirmed the one
// before, and the last confirmed too.
func stepped(s *fixtures.Story, h *fixtures.History, want ...int32) {
	s.Helper()
	var early []string
	cluster.Eventually(s, 10*time.Second, func(context.Context) error { // the watch may tell later than a read
		var got []int32
		confirmed := true
		early = nil
		for _, change := range h.Changes() {
			route, ok := change.Object.(*gatewayv1.HTTPRoute)
			if !ok {
				continue
			}
			now, _, accepted := fixtures.Routed(route, "-canary")
			if len(got) == 0 || got[len(got)-1] != now {
				if !confirmed {
					early = append(early, fmt.Sprintf("%d%% was written before %d%% was confirmed", now, got[len(got)-1]))
				}
				got, confirmed = append(got, now), false
			}
			confirmed = confirmed || accepted
		}
		if !slices.Equal(got, want) || !confirmed {
			return fmt.Errorf("the route stated %v, the last confirmed %t, not %v", got, confirmed, want)
		}
		return nil
	})
	for _, what := range early {
		s.Error(what)
	}
}
