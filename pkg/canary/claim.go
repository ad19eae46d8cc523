package canary

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// Reasons of a Canary that is refused because another one has what it wants.
const (
	// ReasonTargetConflict : its target, or a clone of it, is another Canary's.
	ReasonTargetConflict = "TargetConflict"
	// ReasonServiceConflict : one of its Services, which name its routes too, is another Canary's.
	ReasonServiceConflict = "ServiceConflict"
	// ReasonRouteConflict : an object that its provider routes by is another Canary's.
	ReasonRouteConflict = "RouteConflict"
)

const indexClaims = "claims"

// claim is something that only one Canary of a namespace can have. field names it, if its router says so; else it is a target, or a
// Service: most routes are named like the apex.
type claim struct{ kind, name, field string }

func (c claim) same(other claim) bool { return c.kind == other.kind && c.name == other.name }

func (c claim) String() string { return c.kind + " " + c.name }

const claimedService = "Service"

// claims of a Canary: its target with both clones, then its three Services. A Service that is the target has no clones.
func claims(c *siskinv1.Canary) []claim {
	kind, name, apex := c.Spec.TargetRef.Kind, c.Spec.TargetRef.Name, service.ApexName(c)
	out := []claim{{kind: "target " + kind, name: name}}
	if kind != claimedService {
		for _, role := range []string{siskinv1.RolePrimary, siskinv1.RoleCanary} {
			out = append(out, claim{kind: "target " + kind, name: target.CloneName(name, role)})
		}
	}
	for _, svc := range []string{apex, apex + "-primary", apex + "-canary"} {
		out = append(out, claim{kind: claimedService, name: svc})
	}
	return out
}

// claims of a Canary: those that all have, and those of its router.
func (r *Reconciler) claims(c *siskinv1.Canary) []claim {
	out := claims(c)
	for _, route := range r.routed(c) {
		out = append(out, claim{kind: route.Kind, name: route.Name, field: route.Field})
	}
	return out
}

func (r *Reconciler) routed(c *siskinv1.Canary) []router.Claim {
	if r.Claims == nil {
		return nil
	}
	return r.Claims(r.Observer.ProviderOf(c), c)
}

// claimKeys find the Canaries that may claim the same as c: those with a common stem. One look-up in the cache is
// enough for a Canary whose Services are called like its target.
func claimKeys(c *siskinv1.Canary) []string {
	out := []string{stem(c.Spec.TargetRef.Name)}
	if apex := stem(service.ApexName(c)); apex != out[0] {
		out = append(out, apex)
	}
	return out
}

// claimKeys are those of a Canary with what its router claims.
func (r *Reconciler) claimKeys(c *siskinv1.Canary) []string {
	out := claimKeys(c)
	for _, route := range r.routed(c) {
		if key := stem(route.Name); !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

// stem is a name without the endings that Siskin gives. Of two Canaries that claim one name, both have its stem.
func stem(name string) string {
	for {
		short := strings.TrimSuffix(strings.TrimSuffix(name, "-"+siskinv1.RolePrimary), "-"+siskinv1.RoleCanary)
		if short == name {
			return name
		}
		name = short
	}
}

// rival is a Canary that has what another one wants.
type rival struct {
	name string
	uid  types.UID
	has  claim
}

// rival finds the Canary that comes before c and claims the same. It reads the cache as it is: whoever comes later is told so in its
// next pass.
func (r *Reconciler) rival(ctx context.Context, c *siskinv1.Canary) (*rival, error) {
	near, err := r.near(ctx, c)
	if err != nil || len(near) == 0 {
		return nil, err
	}
	for _, want := range r.claims(c) {
		for _, other := range near {
			if slices.ContainsFunc(r.claims(other), want.same) && precedes(other, c) {
				return &rival{name: other.Name, uid: other.UID, has: want}, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // that there is none is an answer
}

// near are the other Canaries of c's namespace that may claim the same.
func (r *Reconciler) near(ctx context.Context, c *siskinv1.Canary) ([]*siskinv1.Canary, error) {
	keys := r.claimKeys(c)
	if r.claimIndex == "" {
		keys = []string{""}
	}
	var out []*siskinv1.Canary
	for _, key := range keys {
		var list siskinv1.CanaryList
		which := []client.ListOption{client.InNamespace(c.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency}
		if r.claimIndex != "" {
			which = append(which, client.MatchingFields{r.claimIndex: key})
		}
		if err := r.Client.List(ctx, &list, which...); err != nil {
			return nil, fmt.Errorf("looking for other Canaries that want the same: %w", err)
		}
		for i := range list.Items {
			if list.Items[i].UID != c.UID {
				out = append(out, &list.Items[i])
			}
		}
	}
	return out, nil
}

// begun tells whether a Canary has anything in the cluster: nothing is written before it has a stable revision, and from then on the API
// server refuses another name of its Services.
func begun(c *siskinv1.Canary) bool { return c.Status.Stable != nil }

// precedes tells which of two Canaries may go on: the one that has begun, then the older, then the first by name. So nothing that is
// at work is stopped by a Canary that comes later, and both sides see it the same way.
func precedes(a, b *siskinv1.Canary) bool {
	begunA, begunB := begun(a), begun(b)
	switch {
	case begunA != begunB:
		return begunA
	case !a.CreationTimestamp.Equal(&b.CreationTimestamp):
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

func (v *rival) reason() string {
	switch {
	case v.has.field != "":
		return ReasonRouteConflict
	case v.has.kind == claimedService:
		return ReasonServiceConflict
	}
	return ReasonTargetConflict
}

func (v *rival) message() string {
	if field := cmp.Or(v.has.field, "spec.service.name"); v.reason() != ReasonTargetConflict {
		return fmt.Sprintf("Canary %s already routes %s: give this one another %s, or delete one of them; until then it touches nothing", v.name, v.has, field)
	}
	return fmt.Sprintf("Canary %s already has %s: delete one of them; until then this one touches nothing", v.name, v.has)
}

// holds tells whether an object was made, adopted or scaled down by the other Canary.
func (v *rival) holds(obj client.Object) bool {
	ref, notes := metav1.GetControllerOf(obj), obj.GetAnnotations()
	return ref != nil && ref.UID == v.uid || notes[siskinv1.HeldAnnotation] == v.name || notes[service.HolderAnnotation] == v.name
}

// spare leaves to the other Canary what that one holds. It is not there to be given back when this one is deleted: neither the target with
// its autoscaler, nor the apex.
func (v *rival) spare(w *observe.World, s *plan.Snapshot) {
	if w.Target != nil && v.holds(w.Target) {
		w.Scalers.Main, w.Scalers.Strays = nil, nil
		s.Target, s.Scaler = plan.Target{}, plan.Scaler{}
	}
	if apex := w.Live[w.Apex]; apex != nil && v.holds(apex) {
		s.Services.Restored = true
	}
}

// refuse shows a Canary that another one has what it wants. Nothing else is touched, also when one is deleted that has begun nothing: what
// there is, is the other one's. It goes on by itself when the other one is gone.
func (r *Reconciler) refuse(ctx context.Context, c *siskinv1.Canary, v *rival) (reconcile.Result, error) {
	if c.DeletionTimestamp != nil {
		before := c.DeepCopy()
		controllerutil.RemoveFinalizer(c, siskinv1.Finalizer)
		err := r.Client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("letting a Canary go that has begun nothing: %w", err)
		}
		r.drop(c.UID)
		return reconcile.Result{}, nil
	}
	now := r.Clock.Now().UTC()
	next := report.Refused(&c.Status, c.Generation, v.reason(), v.message(), metav1.NewTime(now))
	news := report.Compare(&c.Status, &next) == report.Decision
	later, err := r.store(ctx, c, &next, now, time.Time{})
	if err != nil {
		return reconcile.Result{}, err
	}
	if news {
		log.FromContext(ctx).Info("refused", "reason", v.reason(), "other", v.name)
		r.Teller.event(c, corev1.EventTypeWarning, v.reason(), v.message())
	}
	return reconcile.Result{RequeueAfter: later}, nil
}
