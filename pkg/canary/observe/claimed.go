package observe

import (
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Claimed tells which clones and which of their Services somebody else has applied since Siskin made them; "": none.
// Siskin puts them right, as each must be what the rollout needs, and would fight with whoever applies them without a
// word.
func (w *World) Claimed() string {
	var out []string
	see := func(obj client.Object, wayOut string) {
		by := service.Claimant(obj)
		if by == "" || !w.ours(obj) {
			return
		}
		out = append(out, fmt.Sprintf("%s %s is made by Siskin, which puts it right each time, but is applied by %s too: %s",
			target.KindOf(obj), obj.GetName(), by, wayOut))
	}
	for _, clone := range []client.Object{w.Primary, w.Trial} {
		if clone != nil {
			see(clone, "take it out of there")
		}
	}
	for _, name := range []string{w.PrimaryService, w.CanaryService} {
		if svc := w.Live[name]; svc != nil && w.Canary.Spec.TargetRef.Kind != target.Service {
			see(svc, "take it out of there, or choose another spec.service.name in a new Canary")
		}
	}
	return strings.Join(out, "; ")
}
