package nginx

import (
	"context"
	"fmt"
	"strings"
	"time"

	netv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Settle is how long the ingress controller is given to take what was written. ingress-nginx looks once in 3.3 s at what changed, and its
// workers once a second at what it says; nobody is told when that is done.
const Settle = 5 * time.Second

// settled completes the observation of a canary Ingress that says what is wanted.
func (r *Router) settled(obs router.Observation, live *netv1.Ingress) router.Observation {
	obs.Evidence = router.EvidenceAccepted
	at, err := time.Parse(time.RFC3339Nano, live.Annotations[siskinv1.WrittenAtAnnotation])
	if err != nil { // nobody knows when
		return obs
	}
	if obs.Again = min(at.Add(Settle).Sub(r.clock.Now()), Settle); obs.Again > 0 {
		obs.Evidence, obs.Reason = router.EvidenceWritten, ReasonSettling
		obs.Message = fmt.Sprintf("Ingress %s was written just now, and the ingress controller is given %s to take it.", live.Name, Settle)
		return obs
	}
	obs.Again = 0
	return obs
}

// rival is an older canary Ingress of the namespace for one of the same paths, of which ingress controllers take the first only.
func (r *Router) rival(ctx context.Context, in router.Intent, live *netv1.Ingress) (string, error) {
	var all netv1.IngressList
	// Nothing that was written just now counts, and nothing is changed.
	err := r.c.List(ctx, &all, client.InNamespace(live.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return "", fmt.Errorf("listing Ingresses: %w", err)
	}
	own := claimed(live)
	found := ""
	for i := range all.Items {
		other := &all.Items[i]
		if other.Name == live.Name || notes(other, in)[noteCanary] != "true" || !older(other, live) ||
			class(other) != class(live) || other.Annotations[legacyClass] != live.Annotations[legacyClass] {
			continue
		}
		for path := range claimed(other) {
			if own[path] && (found == "" || other.Name < found) {
				found = other.Name
			}
		}
	}
	return found, nil
}

func older(a, b *netv1.Ingress) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name > b.Name // as ingress-nginx has it
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

// claim is a path of a host.
type claim struct{ host, path, kind string }

func claimed(ingress *netv1.Ingress) map[claim]bool {
	out := map[claim]bool{}
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			c := claim{host: strings.ToLower(rule.Host), path: path.Path}
			if path.PathType != nil {
				c.kind = string(*path.PathType)
			}
			out[c] = true
		}
	}
	return out
}
