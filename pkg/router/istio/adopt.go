package istio

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// adoptee is a VirtualService that somebody else made, and what an intent makes of it.
type adoptee struct {
	rules       lists
	annotations map[string]string
	// held tells that this Canary has adopted it.
	held bool
	wish wishes
	// want is what is to be written; found tells that something of it leads to the apex; refused is what cannot be said in it.
	want    map[string][]woven
	found   bool
	refused error
}

// adopteeOf reads the rules of a VirtualService: as the cache has them, without what Istio's types do not know, or whole.
func adopteeOf(rules lists, annotations map[string]string, in router.Intent) (adoptee, error) {
	a := adoptee{rules: rules, annotations: annotations, held: annotations[siskinv1.CanaryLabel] == in.Owner.Name}
	var err error
	if a.wish, err = wishesOf(rules, annotations, in); err != nil {
		return a, err
	}
	all := map[string][]rule{}
	for name, list := range a.wish.rules {
		for _, one := range list {
			raw, _ := one.(fields)
			all[name] = append(all[name], ruleOf(raw))
		}
	}
	a.want, a.found, a.refused = weave(all, in)
	return a, nil
}

// cached is an adoptee as the cache has it.
func cached(live *istiov1.VirtualService, in router.Intent) (adoptee, error) {
	said, err := saidOf(live)
	if err != nil {
		return adoptee{}, err
	}
	return adopteeOf(listsOf(said), live.Annotations, in)
}

// done tells whether the rules say what is wanted.
func (a *adoptee) done() (bool, error) {
	if a.want == nil {
		return false, nil
	}
	have, err := plain(a.rules)
	if err != nil {
		return false, err
	}
	want, err := plain(a.wanted())
	return equality.Semantic.DeepEqual(have, want), err
}

func (a *adoptee) wanted() lists {
	out := lists{}
	for name, all := range a.want {
		for _, one := range all {
			out[name] = append(out[name], one.fields)
		}
	}
	return out
}

// adopt puts the intent into a user's VirtualService and notes what its author wants. What forbids it stops everything at first; once
// it is adopted it is only told, because a rollback must not wait for an edit.
func (r *Router) adopt(ctx context.Context, in router.Intent, live *istiov1.VirtualService) (router.Receipt, error) {
	seen, err := cached(live, in)
	if err != nil {
		return router.Receipt{}, err
	}
	if done, err := seen.done(); err != nil || done && seen.held && !seen.wish.written {
		return router.Receipt{}, errors.Join(err, seen.refused)
	}
	raw, err := r.whole(ctx, live)
	if err != nil {
		return router.Receipt{}, err
	}
	a, err := adopteeOf(listsOf(object(raw.Object, "spec")), raw.GetAnnotations(), in)
	if err != nil {
		return router.Receipt{}, err
	}
	refused := cmp.Or(r.adoptable(ctx, in, live), a.refused)
	if refused == nil && !a.found {
		refused = invalid("spec.service.name", "no rule of VirtualService %s leads to Service %s, whose traffic could be split: give it a destination with "+
			"host %s, or rename the VirtualService, and one is generated", in.Apex, in.Apex, in.Apex)
	}
	if refused != nil && !a.held || a.want == nil {
		return router.Receipt{}, refused
	}
	receipt, err := r.write(ctx, in, a, live, raw)
	return receipt, errors.Join(refused, err)
}

// write merges the intent into a VirtualService that may be adopted, and tells what that did.
func (r *Router) write(
	ctx context.Context, in router.Intent, a adoptee, live *istiov1.VirtualService, raw *unstructured.Unstructured,
) (router.Receipt, error) {
	notes, err := noted(a.wish.rules, a.want, in)
	if err != nil {
		return router.Receipt{}, err
	}
	receipt := router.Receipt{Changed: true, Object: "VirtualService " + live.Name}
	switch {
	case !a.held:
		receipt.Adopted, receipt.Note = true, unused(in.Owner.Spec.Service, live.Name)
	case !a.wish.written:
	case a.wish.edited && notes[siskinv1.RulesAnnotation] == a.annotations[siskinv1.RulesAnnotation]:
		receipt.Foreign = true // what its author wants is the same: somebody changed what Siskin made of it
	default:
		receipt.Adopted = true
	}
	if a.held && a.wish.written {
		receipt.By = owned.Writer(ctx, r.live, live, listHTTP)
	}
	annotations := fields{siskinv1.WrittenAtAnnotation: r.now()}
	for key, value := range notes {
		annotations[key] = value
	}
	if err := r.patch(ctx, raw, fields{"metadata": fields{"annotations": annotations}, "spec": specOf(a.wanted(), a.rules)}); err != nil {
		return router.Receipt{}, err
	}
	return receipt, nil
}

// unused tells what of a Canary does not count because its VirtualService says it; "": nothing.
func unused(svc siskinv1.CanaryService, name string) string {
	var names []string
	for _, part := range []struct {
		name  string
		given bool
	}{
		{"hosts", len(svc.Hosts) > 0},
		{"gateways", len(svc.Gateways) > 0},
		{"delegation", svc.Delegation},
		{"match", len(svc.Match) > 0},
		{"mirror", len(svc.Mirror) > 0},
		{"rewrite", svc.Rewrite != nil},
		{"headers", svc.Headers != nil},
		{"timeout", svc.Timeout != ""},
		{"retries", svc.Retries != nil},
		{"corsPolicy", svc.CorsPolicy != nil},
	} {
		if part.given {
			names = append(names, "spec.service."+part.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s of the Canary count for nothing: VirtualService %s says it", strings.Join(names, ", "), name)
}

// specOf are the lists as a merge patch has them; one that is no longer there is taken away.
func specOf(rules, before lists) fields {
	out := fields{}
	for _, name := range listNames() {
		switch {
		case len(rules[name]) > 0:
			out[name] = rules[name]
		case len(before[name]) > 0:
			out[name] = nil
		}
	}
	return out
}

// adoptable refuses a VirtualService that may not be adopted, or whose destinations have no counterpart.
func (r *Router) adoptable(ctx context.Context, in router.Intent, live *istiov1.VirtualService) error {
	who := owned.Candidate{
		Object: live, Kind: "VirtualService", Router: Name, Holder: live.Annotations[siskinv1.CanaryLabel],
		ApexOf: func(c *siskinv1.Canary) string { return names(c).Apex },
	}
	if err := who.Adoptable(ctx, r.c, in.Owner); err != nil {
		return err
	}
	for i, one := range live.Spec.Http {
		for _, to := range one.Route {
			if _, ok := domainOf(to.GetDestination().GetHost(), in.Apex, in); ok && to.GetDestination().GetSubset() != "" {
				return who.Refuse("leads to subset %s of Service %s in http[%d], which the Services of primary and canary do not have: "+
					"leave the subset out", to.GetDestination().GetSubset(), in.Apex, i)
			}
		}
	}
	return nil
}

func (r *Router) observeAdopted(in router.Intent, live *istiov1.VirtualService, obs router.Observation) (router.Observation, error) {
	a, err := cached(live, in)
	if err != nil {
		return obs, err
	}
	if !a.held {
		obs.Reason, obs.Message = ReasonForeignRoute, fmt.Sprintf("VirtualService %s is its author's, and is not adopted.", live.Name)
		return obs, nil
	}
	done, err := a.done()
	switch {
	case err != nil:
		return obs, err
	case a.wish.written || !done:
		obs.Current, obs.Known = serving(a.rules, in)
		obs.Reason = ReasonSpecDiffers
		obs.Message = fmt.Sprintf("VirtualService %s does not say %s: its author wrote it, or it was not written yet.", live.Name, in.Split)
		return obs, nil
	case !a.found && (in.Split.Canary > 0 || in.Split.Audience || in.Split.Mirror > 0):
		obs.Current, obs.Known = router.Split{Primary: total}, true
		obs.Reason, obs.Message = ReasonNoApex, fmt.Sprintf("No rule of VirtualService %s leads to Service %s.", live.Name, in.Apex)
		return obs, nil
	}
	obs.Current, obs.Known = in.Split, true
	return r.settled(obs, live), nil
}

// restore gives an adopted VirtualService back: the rules that its author wants, and no trace of Siskin.
func (r *Router) restore(ctx context.Context, in router.Intent, live *istiov1.VirtualService) error {
	if live.Annotations[siskinv1.CanaryLabel] != in.Owner.Name {
		return nil
	}
	raw, err := r.whole(ctx, live)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	have := listsOf(object(raw.Object, "spec"))
	wish, err := wishesOf(have, raw.GetAnnotations(), in)
	if err != nil {
		return err
	}
	gone := fields{}
	for _, key := range []string{siskinv1.CanaryLabel, siskinv1.RulesAnnotation, siskinv1.LeftAnnotation, siskinv1.WrittenAtAnnotation} {
		gone[key] = nil
	}
	patch := fields{"metadata": fields{"annotations": gone}}
	if !equality.Semantic.DeepEqual(have, wish.rules) {
		patch["spec"] = specOf(wish.rules, have)
	}
	if err := r.patch(ctx, raw, patch); err != nil {
		return client.IgnoreNotFound(err)
	}
	return r.letGo(ctx, live)
}

// letGo takes Siskin's field manager off a VirtualService that was given back, so that its author's next server-side apply meets no
// conflict. It is a write of its own: the one before makes Siskin the manager of what it restores.
func (r *Router) letGo(ctx context.Context, live *istiov1.VirtualService) error {
	raw, err := r.whole(ctx, live)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	all := raw.GetManagedFields()
	others := slices.DeleteFunc(slices.Clone(all), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == siskinv1.FieldManager })
	if len(others) == 0 || len(others) == len(all) {
		return nil
	}
	err = r.patch(ctx, raw, fields{"metadata": fields{"managedFields": others}})
	if apierrors.IsConflict(err) { // what matters is restored
		return nil
	}
	return client.IgnoreNotFound(err)
}

// whole reads a VirtualService from the API server, with the fields that Istio's types do not know.
func (r *Router) whole(ctx context.Context, vs *istiov1.VirtualService) (*unstructured.Unstructured, error) {
	raw := &unstructured.Unstructured{}
	raw.SetGroupVersionKind(istiov1.SchemeGroupVersion.WithKind("VirtualService"))
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(vs), raw); err != nil {
		return nil, fmt.Errorf("reading VirtualService %s/%s: %w", vs.Namespace, vs.Name, err)
	}
	return raw, nil
}

// patch sends a merge patch, in which lists are values, to what was read and only if nobody wrote since.
func (r *Router) patch(ctx context.Context, read *unstructured.Unstructured, patch fields) error {
	within(patch, "metadata")["resourceVersion"] = read.GetResourceVersion()
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("changing VirtualService %s/%s: %w", read.GetNamespace(), read.GetName(), err)
	}
	vs := &istiov1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: read.GetNamespace(), Name: read.GetName()}}
	err = r.c.Patch(ctx, vs, client.RawPatch(types.MergePatchType, data), client.FieldOwner(siskinv1.FieldManager))
	if err != nil {
		return fmt.Errorf("changing VirtualService %s/%s: %w", read.GetNamespace(), read.GetName(), err)
	}
	return nil
}
