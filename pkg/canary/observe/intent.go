package observe

import (
	"fmt"
	"strings"
	"time"

	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router"
)

// IntentOf returns the routing that a state asks for.
func (w *World) IntentOf(z plan.State) router.Intent {
	if z.Split == (plan.Split{}) {
		z.Split = plan.AllPrimary()
	}
	in := router.Intent{
		Owner: w.Canary, Apex: w.Apex, Primary: w.PrimaryService, Canary: w.CanaryService, Port: w.Intent.Port,
		Split: router.Split(z.Split), Audience: w.Canary.Spec.Analysis.Match,
	}
	if a := w.Canary.Spec.Analysis.SessionAffinity; a != nil && z.Split.Canary > 0 && z.Split.Primary > 0 {
		every, _ := interval("", w.Canary.Spec.Analysis.Interval, DefaultInterval)
		token := fmt.Sprintf("%d-%s", z.Rollout, strings.TrimPrefix(z.Candidate, w.Canary.Name+"-"))
		in.Affinity = &router.Affinity{
			SessionAffinity: *a, Token: token, PrimaryToken: fmt.Sprintf("%s-%d", token, z.Step),
			PrimaryMaxAge: int32(max(every/time.Second, 1)), //nolint:gosec // a duration in seconds
		}
	}
	return in
}
