package istio

import (
	"context"
	"errors"
	"fmt"
	"maps"

	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// desired is the VirtualService that the intent asks for or, if that is refused, the live one with the rules that it was made of woven
// for this split, if there is one.
func desired(in router.Intent, live *istiov1.VirtualService) (*istiov1.VirtualService, error) {
	want, refused := build(in)
	if refused == nil || live == nil {
		return want, refused
	}
	want = &istiov1.VirtualService{ObjectMeta: owned.Meta(in.Owner, in.Apex, in.Owner.Spec.Service.Apex)}
	live.Spec.DeepCopyInto(&want.Spec)
	want.Annotations[siskinv1.RulesAnnotation] = live.Annotations[siskinv1.RulesAnnotation]
	rules := map[string][]rule{}
	for name, all := range recordOf(live.Annotations) {
		for _, one := range all {
			raw, _ := one.(fields)
			rules[name] = append(rules[name], ruleOf(raw))
		}
	}
	if woven, found, err := weave(rules, in); err == nil && found {
		if put(&want.Spec, woven) == nil {
			return want, refused
		}
	}
	said, err := saidOf(live)
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	if split, known := current(listsOf(said), in); known && split == in.Split { // it is as it should be, but for the edit
		return want, refused
	}
	return nil, refused
}

// build makes the whole VirtualService, but for its digests.
func build(in router.Intent) (*istiov1.VirtualService, error) {
	b, err := generate(in)
	if err != nil {
		return nil, err
	}
	woven, _, err := weave(b.rules, in)
	if err != nil {
		return nil, err
	}
	record, err := recorded(b.written(), in)
	if err != nil {
		return nil, err
	}
	out := &istiov1.VirtualService{ObjectMeta: owned.Meta(in.Owner, in.Apex, in.Owner.Spec.Service.Apex)}
	out.Annotations[siskinv1.RulesAnnotation] = record
	out.Spec.Hosts, out.Spec.Gateways = b.hosts, b.gateways
	return out, put(&out.Spec, woven)
}

// written are the rules as they are before a rollout.
func (b base) written() lists {
	out := lists{}
	for name, all := range b.rules {
		for _, r := range all {
			one := r.fields
			if name == listHTTP {
				one, _ = r.with(r.selects, list(r.fields, "route"), "") // its matches were written before
			}
			out[name] = append(out[name], one)
		}
	}
	return out
}

// put puts rules into a spec.
func put(spec *networking.VirtualService, rules map[string][]woven) error {
	all := lists{}
	for name, list := range rules {
		for _, one := range list {
			all[name] = append(all[name], one.fields)
		}
	}
	return replace(spec, all)
}

func replace(spec *networking.VirtualService, rules lists) error {
	var read networking.VirtualService
	if err := decode(rules, &read); err != nil {
		return err
	}
	spec.Http, spec.Tls, spec.Tcp = read.Http, read.Tls, read.Tcp
	return nil
}

// saidOf is the spec of a VirtualService as JSON.
func saidOf(vs *istiov1.VirtualService) (fields, error) { return encode(&vs.Spec) }

// sameSpec tells whether two VirtualServices say the same of what is Siskin's.
func sameSpec(live, want *istiov1.VirtualService) (bool, error) {
	l, err := saidOf(live)
	if err != nil {
		return false, err
	}
	w, err := saidOf(want)
	if err != nil {
		return false, err
	}
	delete(l, "exportTo") // it may be somebody else's
	delete(w, "exportTo")
	return equality.Semantic.DeepEqual(l, w), nil
}

// generate writes the generated VirtualService if it differs.
func (r *Router) generate(ctx context.Context, in router.Intent, live *istiov1.VirtualService) (router.Receipt, error) {
	want, refused := desired(in, live)
	if want == nil {
		return router.Receipt{}, refused
	}
	if err := r.seal(want); err != nil {
		return router.Receipt{}, errors.Join(refused, err)
	}
	if live != nil {
		same, err := sameSpec(live, want)
		if err != nil {
			return router.Receipt{}, errors.Join(refused, err)
		}
		if same && covered(live, want) {
			return router.Receipt{}, refused
		}
	}
	receipt := router.Receipt{Changed: true, Object: "VirtualService " + want.Name}
	if live != nil && foreign(live, in) {
		receipt.Foreign = true
		receipt.By = owned.Writer(ctx, r.live, live, listHTTP)
		if receipt.By == "" {
			receipt.By = owned.Writer(ctx, r.live, live, listTCP)
		}
	}
	var kept istiov1.VirtualService
	if err := owned.Write(ctx, r.c, want, &kept); err != nil {
		return receipt, errors.Join(refused, err)
	}
	if same, err := sameSpec(&kept, want); err != nil || !same { // and what is not kept is nobody's change
		receipt.Foreign, receipt.By = false, ""
		return receipt, errors.Join(refused, err, invalid("spec.service",
			"the API server does not keep what is written to VirtualService %s: update Istio's CRDs, or look for a webhook that changes it", want.Name))
	}
	return receipt, refused
}

// seal puts on a VirtualService that is to be written when that was and two digests: of all that is wanted, so that a field that is no longer
// wanted is noticed, and of its spec, so that a write of somebody else is.
func (r *Router) seal(vs *istiov1.VirtualService) error {
	if err := owned.Seal(vs, vs); err != nil {
		return err
	}
	said, err := saidOf(vs)
	if err != nil {
		return err
	}
	delete(said, "exportTo")
	digest, err := owned.Digest(said)
	if err != nil {
		return err
	}
	vs.Annotations[siskinv1.WrittenAnnotation], vs.Annotations[siskinv1.WrittenAtAnnotation] = digest, r.now()
	return nil
}

// covered tells whether live has the metadata of want. What tells of the write itself is no reason to write: the spec is compared.
func covered(live, want metav1.Object) bool {
	plain := metav1.ObjectMeta{Labels: want.GetLabels(), Annotations: maps.Clone(want.GetAnnotations()), OwnerReferences: want.GetOwnerReferences()}
	delete(plain.Annotations, siskinv1.WrittenAnnotation)
	delete(plain.Annotations, siskinv1.WrittenAtAnnotation)
	return owned.MetaCovers(live, &plain)
}

// foreign tells whether the spec of a VirtualService of this Canary is not the one that Siskin left: another one than its digest, or one
// without a trace of Siskin.
func foreign(live *istiov1.VirtualService, in router.Intent) bool {
	left, sealed := live.Annotations[siskinv1.WrittenAnnotation]
	if !sealed {
		_, applied := live.Annotations[siskinv1.AppliedAnnotation]
		return !applied && metav1.IsControlledBy(live, in.Owner)
	}
	said, err := saidOf(live)
	if err != nil {
		return false
	}
	delete(said, "exportTo")
	have, err := owned.Digest(said)
	return err == nil && have != left
}

func (r *Router) observeGenerated(in router.Intent, live *istiov1.VirtualService, obs router.Observation) (router.Observation, error) {
	want, _ := desired(in, live) // What is invalid is Validate's to tell.
	if want != nil {
		same, err := sameSpec(live, want)
		if err != nil {
			return obs, err
		}
		if same {
			obs.Current, obs.Known = in.Split, true
			return r.settled(obs, live), nil
		}
	}
	said, err := saidOf(live)
	if err != nil {
		return obs, err
	}
	obs.Current, obs.Known = current(listsOf(said), in)
	obs.Reason = ReasonSpecDiffers
	obs.Message = fmt.Sprintf("VirtualService %s does not say %s: somebody else changed it, or it was not written yet.", in.Apex, in.Split)
	return obs, nil
}

// giveUp has a generated VirtualService need no Siskin: it leads to the apex.
func (r *Router) giveUp(ctx context.Context, in router.Intent, live *istiov1.VirtualService) error {
	if !in.Keep {
		err := r.c.Delete(ctx, live, client.Preconditions{UID: &live.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting VirtualService %s/%s: %w", live.Namespace, live.Name, err)
		}
		return nil
	}
	vs := live.DeepCopy()
	owned.Disown(vs, in.Owner)
	for _, key := range []string{
		siskinv1.AppliedAnnotation, siskinv1.WrittenAnnotation, siskinv1.WrittenAtAnnotation, siskinv1.RulesAnnotation,
	} {
		delete(vs.Annotations, key) // from now on it is whoever writes it
	}
	rules, err := before(in, live)
	if err != nil {
		return err
	}
	if err := replace(&vs.Spec, rules); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(live.ObjectMeta, vs.ObjectMeta) {
		if same, err := sameSpec(live, vs); err != nil || same {
			return err
		}
	}
	if err := r.c.Patch(ctx, vs, ssa.MergeFrom(live), client.FieldOwner(siskinv1.FieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("leaving VirtualService %s/%s to Service %s: %w", live.Namespace, live.Name, in.Apex, err)
	}
	return nil
}

// before are the rules of a generated VirtualService as they were before a rollout, and lead to the apex: those that are recorded or, if
// somebody took that away, what can be told from those that are there.
func before(in router.Intent, live *istiov1.VirtualService) (lists, error) {
	if rules := recordOf(live.Annotations); len(rules) > 0 {
		return rules, nil
	}
	said, err := saidOf(live)
	if err != nil {
		return nil, err
	}
	w, err := wishesOf(listsOf(said), nil, in)
	return w.rules, err
}
