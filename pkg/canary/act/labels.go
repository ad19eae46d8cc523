package act

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// cloneOver makes the clone of a revision as it can be written over live, which is nil if there is none. Pods of an
// earlier Siskin get the label siskin.dev/clone with another revision, or when there are none that it could restart.
func cloneOver(c *siskinv1.Canary, live client.Object, role, name string, r target.Revision, replicas int32) (client.Object, error) {
	want, err := target.Clone(c, role, name, r, replicas)
	if err != nil || live == nil {
		return want, err
	}
	another := live.GetAnnotations()[siskinv1.RevisionAnnotation] != name
	target.Over(want, live, another || replicas > 0 && podless(live))
	return want, nil
}

// podless tells that a clone has no pods.
func podless(clone client.Object) bool {
	st := target.Observe(clone)
	return st.Replicas == 0 && st.Pods == 0 && st.Observed >= clone.GetGeneration()
}

// ownPods tells which Services can select pods by siskin.dev/clone. One that does goes on doing so: from then on each
// template has the label. Where there is no clone yet, which will have it, a Service is left as it is.
func ownPods(w *observe.World) service.Own {
	own := func(clone client.Object, svc string) bool {
		live := w.Live[svc]
		if clone == nil {
			return live == nil || service.Owns(live)
		}
		template, pods := target.Labelled(clone, w.Canary.Name)
		return pods || template && live != nil && service.Owns(live)
	}
	out := service.Own{Primary: own(w.Primary, w.PrimaryService), Canary: own(w.Trial, w.CanaryService)}
	if apex := w.Live[w.Apex]; apex != nil && service.Owns(apex) {
		out.Apex = out.Primary
		if apex.Spec.Selector[siskinv1.RoleLabel] == siskinv1.RoleCanary {
			out.Apex = out.Canary
		}
		return out
	}
	// A router that moves traffic by the apex's selector may lead it to either.
	out.Apex = out.Primary && (out.Canary || w.Trial == nil || podless(w.Trial))
	return out
}
