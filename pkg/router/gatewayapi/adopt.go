package gatewayapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// ReasonNoApex : no rule of the adopted HTTPRoute leads to the apex Service.
const ReasonNoApex = "NoApexBackend"

// patchTries bounds how often a write is repeated because something else of the route was written meanwhile, such as
// its status.
const patchTries = 3

// maxRecord is how large the rules of an adopted route may be that are kept in an annotation, in bytes: half of what
// all annotations of an object can have.
const maxRecord = 128 << 10

// candidate is a user's route, for the question whether it may be adopted.
func candidate(live *gatewayv1.HTTPRoute) owned.Candidate {
	return owned.Candidate{Object: live, Kind: "HTTPRoute", Router: Name, Holder: holder(live), ApexOf: service.ApexName}
}

// adoptee is a route that somebody else made.
type adoptee struct {
	whole
	live *gatewayv1.HTTPRoute
	// held tells that this Canary has adopted it.
	held bool
	// wish are the rules that its author wants.
	wish []any
	// written tells that they were written since Siskin wrote, edited that this was done in what Siskin had made of
	// them.
	written, edited bool
	// want is what is to be written; none tells that nothing of it leads to the apex; refused what cannot be said in
	// it.
	want    []merged
	none    bool
	refused error
}

// read reads a user's route, and what an intent makes of it.
func (r *Router) adoptee(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) (adoptee, error) {
	w, err := r.wholes.of(ctx, live)
	if err != nil {
		return adoptee{}, err
	}
	a := adoptee{whole: w, live: live, held: w.annotations[siskinv1.CanaryLabel] == in.Owner.Name}
	a.wish, a.written, a.edited = wishOf(a.rules, a.annotations, in)
	if in.Expires() {
		if caps := r.Capabilities(ctx, in.Owner); caps.Features[router.FeatureAffinity] < router.Yes {
			in.Expired = nil
		}
	}
	a.want, a.none, a.refused = merge(a.wish, in)
	return a, nil
}

// done tells whether the route says what is wanted.
func (a *adoptee) done() bool {
	return equality.Semantic.DeepEqual(a.rules, a.wanted())
}

func (a *adoptee) wanted() []any {
	var out []any
	for _, m := range a.want {
		out = append(out, m.rule)
	}
	return out
}

// adopt puts the intent into a user's route and notes what its author wants. What forbids it stops everything at first;
// once the route is adopted it is only told, because a rollback must not wait for an edit.
func (r *Router) adopt(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) (router.Receipt, error) {
	a, err := r.adoptee(ctx, in, live)
	if err != nil {
		return router.Receipt{}, err
	}
	if live.DeletionTimestamp != nil && !a.held {
		return router.Receipt{}, fmt.Errorf("waiting until HTTPRoute %s, which is being deleted, is gone: %w",
			live.Name, router.ErrNotFound)
	}
	refused := cmp.Or(candidate(live).Adoptable(ctx, r.c, in.Owner), a.refused)
	if a.none {
		refused = cmp.Or(refused, invalid("spec.service.name",
			"no rule of HTTPRoute %s has a backendRef to Service %s, port %d, whose traffic could be split: give it one, or rename the route, and one is generated", in.Apex, in.Apex, in.Port))
	}
	if refused != nil && !a.held {
		return router.Receipt{}, refused
	}
	notes, err := noted(a.wish, a.want, in)
	if err != nil {
		return router.Receipt{}, err
	}
	finalizers := r.kept(ctx, in, &a)
	if a.done() && allIn(notes, a.annotations) && slices.Equal(finalizers, a.finalizers) {
		return router.Receipt{}, refused
	}
	receipt := r.receipt(ctx, in, &a, notes)
	patch := fields{
		"metadata": fields{"annotations": notes, "finalizers": finalizers}, "spec": fields{"rules": a.wanted()},
	}
	if err := r.write(ctx, &a, patch); err != nil {
		return router.Receipt{}, errors.Join(refused, err)
	}
	return receipt, refused
}

// receipt tells what it means that an adopted route is written.
func (r *Router) receipt(ctx context.Context, in router.Intent, a *adoptee, notes map[string]string) router.Receipt {
	out := router.Receipt{Changed: true, Object: "HTTPRoute " + a.live.Name}
	switch {
	case !a.held:
		out.Adopted, out.Note = true, unused(in.Owner.Spec.Service, a.live)
		return out
	case !a.written:
		return out
	}
	out.By = cmp.Or(owned.Writer(ctx, r.live, a.live, "rules"), "somebody else")
	out.Foreign = a.edited && notes[siskinv1.RulesAnnotation] == a.annotations[siskinv1.RulesAnnotation]
	out.Adopted = !out.Foreign
	return out
}

// allIn tells whether all annotations are there.
func allIn(part, all map[string]string) bool {
	for key, value := range part {
		if have, ok := all[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// unused tells what of a Canary does not count because its route says it; "": nothing.
func unused(svc siskinv1.CanaryService, live *gatewayv1.HTTPRoute) string {
	var names []string
	add := func(name string, given bool) {
		if given {
			names = append(names, "spec.service."+name)
		}
	}
	refs, err := parents(svc.GatewayRefs)
	add("gatewayRefs",
		len(svc.GatewayRefs) > 0 && (err != nil || !sameParents(live.Namespace, refs, live.Spec.ParentRefs)))
	hosts, err := hostnames(svc.Hosts)
	add("hosts", len(svc.Hosts) > 0 && (err != nil || !equality.Semantic.DeepEqual(hosts, live.Spec.Hostnames)))
	add("match", len(svc.Match) > 0)
	add("mirror", len(svc.Mirror) > 0)
	add("rewrite", svc.Rewrite != nil)
	add("headers", svc.Headers != nil)
	add("timeout", svc.Timeout != "")
	add("backendTimeout", svc.BackendTimeout != "")
	if len(names) == 0 {
		return ""
	}
	do := "do"
	if len(names) == 1 {
		do = "does"
	}
	return fmt.Sprintf("%s of the Canary %s not count: HTTPRoute %s says it", strings.Join(names, ", "), do, live.Name)
}

func sameParents(namespace string, xs, ys []gatewayv1.ParentReference) bool {
	return len(xs) == len(ys) && !slices.ContainsFunc(xs, func(x gatewayv1.ParentReference) bool {
		return !slices.ContainsFunc(ys, func(y gatewayv1.ParentReference) bool { return sameParent(namespace, x, y) })
	})
}

// observeAdopted is Observe for a route that somebody else made.
func (r *Router) observeAdopted(
	ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute,
) (router.Observation, error) {
	obs := router.Observation{MetricsKind: metricsKind(live)}
	obs.Counted = obs.MetricsKind.Counted()
	a, err := r.adoptee(ctx, in, live)
	if err != nil {
		return obs, err
	}
	v := accepted(live)
	if live.Generation < a.generation {
		v = verdict{reason: ReasonStaleGeneration, message: fmt.Sprintf("HTTPRoute %s was written just now.", live.Name)}
	}
	switch {
	case !a.held:
		obs.Reason = ReasonForeignRoute
		obs.Message = fmt.Sprintf("HTTPRoute %s is not Siskin's, and is not adopted yet.", live.Name)
		if !v.accepted && !v.rejected { // it may be what Release wrote last
			obs.Leaving, obs.Message = true, fmt.Sprintf("HTTPRoute %s is its author's, but %s", live.Name, v.message)
		}
		return obs, nil
	case a.written || !a.done():
		obs.Current, obs.Known = a.states(in)
		obs.Reason = ReasonSpecDiffers
		obs.Message = fmt.Sprintf("HTTPRoute %s does not say %s: its author wrote it, or it was not written yet.",
			live.Name, in.Split)
		return obs, nil
	case a.refused != nil:
		obs.Current, obs.Known = router.Split{Primary: in.Split.Primary, Canary: in.Split.Canary}, true
		obs.Reason, obs.Message = ReasonSpecDiffers, a.refused.Error()
		return obs, nil //nolint:nilerr // Apply and Capabilities tell it
	case a.none && (in.Split.Canary > 0 || in.Split.Audience || in.Split.Mirror > 0):
		obs.Current, obs.Known = router.Split{Primary: 100}, true
		obs.Reason = ReasonNoApex
		obs.Message = fmt.Sprintf("No rule of HTTPRoute %s leads to Service %s.", live.Name, in.Apex)
		return obs, nil
	}
	obs.Current, obs.Known = in.Split, true
	if live.DeletionTimestamp != nil {
		obs.Reason = ReasonRouteDeleted
		obs.Message = fmt.Sprintf("HTTPRoute %s is being deleted: another one takes its place.", live.Name)
		return obs, nil
	}
	obs.Evidence, obs.Reason, obs.Message, obs.Rejected = router.EvidenceWritten, v.reason, v.message, v.rejected
	if v.accepted {
		obs.Evidence = router.EvidenceAccepted
	}
	return obs, nil
}

// states is the split that the rules as they are now carry. What leads to the apex leads to the primary, which that
// selects.
func (a *adoptee) states(in router.Intent) (router.Split, bool) {
	var spec gatewayv1.HTTPRouteSpec
	if typed(fields{"rules": a.rules}, &spec) != nil {
		return router.Split{}, false
	}
	return serving(spec, in)
}

// serving is current, where rules may still lead to the apex.
func serving(spec gatewayv1.HTTPRouteSpec, in router.Intent) (router.Split, bool) {
	spec = *spec.DeepCopy()
	for i := range spec.Rules {
		for j := range spec.Rules[i].BackendRefs {
			if ref := &spec.Rules[i].BackendRefs[j]; isService(ref.BackendObjectReference, in, in.Apex) {
				ref.Name = gatewayv1.ObjectName(in.Primary)
			}
		}
	}
	return current(spec, in)
}

// restore gives an adopted route back: the rules that its author wants, and no trace of Siskin.
func (r *Router) restore(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) error {
	r.wholes.forget(live.UID)
	a, err := r.adoptee(ctx, in, live)
	if apierrors.IsNotFound(err) || err == nil && !a.held {
		return nil
	}
	if err != nil {
		return err
	}
	gone := fields{}
	for _, key := range []string{siskinv1.CanaryLabel, siskinv1.RulesAnnotation, siskinv1.LeftAnnotation} {
		gone[key] = nil
	}
	patch := fields{"metadata": fields{"annotations": gone, "finalizers": unfinalized(a.finalizers)}}
	if !equality.Semantic.DeepEqual(a.rules, a.wish) {
		patch["spec"] = fields{"rules": a.wish}
	}
	if err := r.write(ctx, &a, patch); err != nil {
		return client.IgnoreNotFound(err)
	}
	return r.letGo(ctx, live)
}

// letGo takes Siskin's field manager off a route that was given back, so that its author's next server-side apply
// meets no conflict. It is a write of its own: the one before makes Siskin the manager of what it restores.
func (r *Router) letGo(ctx context.Context, live *gatewayv1.HTTPRoute) error {
	raw, err := r.wholes.read(ctx, live)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	others := slices.DeleteFunc(raw.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == siskinv1.FieldManager
	})
	if len(others) == 0 || len(others) == len(raw.GetManagedFields()) {
		return nil
	}
	patch := fields{"metadata": fields{"resourceVersion": raw.GetResourceVersion(), "managedFields": others}}
	err = r.patch(ctx, live, patch)
	if apierrors.IsConflict(err) { // what matters is restored
		return nil
	}
	return client.IgnoreNotFound(err)
}

// yield gives a generated route up that somebody else has applied, in one write: it loses its owner and all that says
// it is generated, and of its spec what nobody but Siskin asks for.
func (r *Router) yield(ctx context.Context, in router.Intent, live *gatewayv1.HTTPRoute) (*gatewayv1.HTTPRoute, error) {
	raw, err := r.wholes.read(ctx, live)
	if err != nil {
		return nil, err
	}
	owned.Disown(raw, in.Owner)
	last, spec := owned.AppliedSpec(raw), fields{}
	have, _ := raw.Object["spec"].(fields)
	for key := range have {
		if _, given := last[key]; !given && !owned.Applies(raw, key) {
			spec[key] = nil
		}
	}
	if rules, given := last["rules"]; given && !foreign(live, in) && !owned.Applies(raw, "rules") { // Siskin wrote over them
		spec["rules"] = rules
	}
	patch := fields{
		"metadata": fields{
			"ownerReferences": raw.GetOwnerReferences(),
			"labels":          fields{siskinv1.CanaryLabel: nil},
			"annotations":     fields{siskinv1.AppliedAnnotation: nil, siskinv1.WrittenAnnotation: nil},
			"resourceVersion": raw.GetResourceVersion(),
		},
		"spec": spec,
	}
	out := live.DeepCopy()
	r.wholes.forget(live.UID)
	return out, r.patch(ctx, out, patch)
}

// write patches an adopted route if what was read of it still holds.
func (r *Router) write(ctx context.Context, a *adoptee, patch fields) error {
	meta, _ := patch["metadata"].(fields)
	r.wholes.forget(a.live.UID)
	for try := 1; ; try++ {
		meta["resourceVersion"] = a.version
		err := r.patch(ctx, a.live.DeepCopy(), patch)
		if !apierrors.IsConflict(err) || try == patchTries {
			return err
		}
		raw, failed := r.wholes.read(ctx, a.live)
		if failed != nil {
			return failed
		}
		now := wholeOf(raw)
		if now.generation != a.generation || !maps.Equal(notes(now.annotations), notes(a.annotations)) ||
			!slices.Equal(now.finalizers, a.finalizers) {
			return err
		}
		a.version = now.version
	}
}

// notes are Siskin's annotations on an adopted route.
func notes(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for _, key := range []string{
		siskinv1.CanaryLabel, siskinv1.RulesAnnotation, siskinv1.LeftAnnotation, siskinv1.AdoptAnnotation,
	} {
		out[key] = annotations[key]
	}
	return out
}

// patch sends a merge patch, in which lists are values. route holds the result.
func (r *Router) patch(ctx context.Context, route *gatewayv1.HTTPRoute, patch fields) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("changing HTTPRoute %s/%s: %w", route.Namespace, route.Name, err)
	}
	err = r.c.Patch(ctx, route, client.RawPatch(types.MergePatchType, data), client.FieldOwner(siskinv1.FieldManager))
	if err != nil {
		return fmt.Errorf("changing HTTPRoute %s/%s: %w", route.Namespace, route.Name, err)
	}
	return nil
}

// claimedRoute tells whether somebody else has applied a route that Siskin generated: it is theirs from then on. What
// was only edited is put right, as ever.
func (r *Router) claimedRoute(ctx context.Context, live *gatewayv1.HTTPRoute) (bool, error) {
	if service.Claimant(live) == "" {
		return false, nil
	}
	w, err := r.wholes.of(ctx, live)
	return w.claimed, err
}
