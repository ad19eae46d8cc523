package istio

import (
	"context"
	"errors"
	"fmt"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// applyRules writes the DestinationRules of the versions, and deletes them if there is no trafficPolicy any more. Both versions are led
// to all the time, so that the order is the same either way. What is refused holds up nothing else.
func (r *Router) applyRules(ctx context.Context, in router.Intent) (changed bool, refused, err error) {
	want, refused := destinationRules(in)
	if refused != nil {
		return false, refused, nil
	}
	if len(want) == 0 {
		return false, nil, r.removeRules(ctx, in, in.Primary, in.Canary, in.Apex)
	}
	for _, one := range want {
		wrote, err := r.applyRule(ctx, in, one)
		if _, invalid := errors.AsType[*router.InvalidError](err); invalid {
			refused = err
			continue
		}
		if err != nil {
			return changed, refused, err
		}
		changed = changed || wrote
	}
	return changed, refused, r.removeRules(ctx, in, in.Apex) // a deletion left it
}

func (r *Router) applyRule(ctx context.Context, in router.Intent, want *istiov1.DestinationRule) (bool, error) {
	if err := owned.Seal(want, want); err != nil {
		return false, err
	}
	live, err := r.rule(ctx, in, want.Name)
	if err != nil {
		return false, err
	}
	if live != nil {
		switch owned.By(live, in.Owner) {
		case owned.Foreign:
			return false, invalid("spec.service.trafficPolicy", "DestinationRule %s exists and is not Siskin's: give the policy there and leave it out here, "+
				"or delete the rule", want.Name)
		case owned.Leftover:
			return false, fmt.Errorf("waiting for DestinationRule %s of an earlier Canary to be collected: %w", live.Name, router.ErrNotFound)
		case owned.Ours:
		}
		same, err := sameRule(live, want)
		if err != nil || same && owned.MetaCovers(live, want) {
			return false, err
		}
	}
	var kept istiov1.DestinationRule
	if err := owned.Write(ctx, r.c, want, &kept); err != nil {
		return false, err
	}
	if same, err := sameRule(&kept, want); err != nil || !same {
		return true, errors.Join(err, invalid("spec.service.trafficPolicy",
			"the API server does not keep what is written to DestinationRule %s: update Istio's CRDs, or look for a webhook that changes it", want.Name))
	}
	return true, nil
}

// sameRule tells whether a DestinationRule says what is wanted; where it is exported to may be somebody else's.
func sameRule(live, want *istiov1.DestinationRule) (bool, error) {
	l, err := encode(&live.Spec)
	if err != nil {
		return false, err
	}
	w, err := encode(&want.Spec)
	if err != nil {
		return false, err
	}
	delete(l, "exportTo")
	return equality.Semantic.DeepEqual(l, w), nil
}

// rule returns a DestinationRule, or nil if there is none.
func (r *Router) rule(ctx context.Context, in router.Intent, name string) (*istiov1.DestinationRule, error) {
	var rule istiov1.DestinationRule
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: name}, &rule, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading DestinationRule %s/%s: %w", in.Owner.Namespace, name, err)
	}
	return &rule, nil
}

// removeRules deletes those DestinationRules that are this Canary's.
func (r *Router) removeRules(ctx context.Context, in router.Intent, names ...string) error {
	for _, name := range names {
		live, err := r.rule(ctx, in, name)
		if err != nil {
			return err
		}
		if live == nil || owned.By(live, in.Owner) != owned.Ours {
			continue
		}
		err = r.c.Delete(ctx, live, client.Preconditions{UID: &live.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting DestinationRule %s/%s: %w", live.Namespace, live.Name, err)
		}
	}
	return nil
}

// leaveRule gives the apex the policy that the versions had, before it is led to: it stays without an owner. One that is there already
// stays as it is.
func (r *Router) leaveRule(ctx context.Context, in router.Intent) error {
	policy, err := trafficPolicy(in)
	if err != nil || policy == nil {
		return nil //nolint:nilerr // an edit that cannot be used holds up no deletion
	}
	live, err := r.rule(ctx, in, in.Apex)
	if err != nil || live != nil {
		return err
	}
	had, err := r.rule(ctx, in, in.Primary)
	if err != nil || had == nil || owned.By(had, in.Owner) != owned.Ours { // it was left already, or never made
		return err
	}
	want := destinationRule(owned.Meta(in.Owner, in.Apex, in.Owner.Spec.Service.Apex), policy)
	owned.Disown(want, in.Owner)
	return owned.Write(ctx, r.c, want, &istiov1.DestinationRule{})
}
