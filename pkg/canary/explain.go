package canary

import (
	"errors"
	"strings"

	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
)

// explain shows in the decision what keeps it from being carried out: what only an edit of the routing can mend, and effects that
// failed in the pass before.
func (r *Reconciler) explain(d *plan.Decision, w *observe.World) {
	if w.Doubt != nil {
		d.WaitingFor = append(d.WaitingFor, w.Doubt.Error())
	}
	if w.Views.Held != "" {
		d.WaitingFor = append(d.WaitingFor, w.Views.Held)
	}
	err := w.Problem
	if past, ok := r.problems.Load(w.Canary.UID); ok && len(d.Effects)+len(w.Lost) > 0 {
		err, _ = past.(error)
	}
	switch {
	case err == nil:
	case invalid(err):
		d.Stalled, d.Why = "InvalidSpec", told(err)
	case !errors.Is(err, router.ErrNotFound):
		d.WaitingFor = append(d.WaitingFor, told(err))
	}
	missing(d, w)
}

// missing shows the copies of configuration that are lost and that Siskin cannot, or must not, make again now. What runs goes on, and so
// does a rollout: the next revision may be what helps. A Canary that is suspended goes on saying so.
func missing(d *plan.Decision, w *observe.World) {
	text := lost(w)
	switch {
	case text == "":
	case d.Stalled == "" && !w.Canary.Spec.Suspend:
		d.Stalled, d.Why = target.ReasonConfigCopyMissing, text
	default:
		d.WaitingFor = append(d.WaitingFor, text)
	}
}

// lost tells which copies of configuration are missing for longer than this pass.
func lost(w *observe.World) string {
	var texts []string
	for _, l := range w.Lost {
		if !l.Found || w.Canary.Spec.Suspend {
			texts = append(texts, l.String())
		}
	}
	return strings.Join(texts, "; ")
}

// told is an error in one line: several that were joined are told apart.
func told(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// invalid tells whether only an edit helps.
func invalid(err error) bool {
	var spec *observe.InvalidSpecError
	var route *router.InvalidError
	return errors.As(err, &spec) || errors.As(err, &route)
}
