// Package toy is a router for tests of the seam: a data plane that reads its split from a ConfigMap <table>-split beside a ConfigMap of
// the user, the table, as ingress-nginx reads a second Ingress. That it is a folder and one line of a registry is what it shows.
package toy

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

const (
	// Name of the provider.
	Name = "toy"
	// TableAnnotation of a Canary names its table.
	TableAnnotation = "toy.siskin.dev/table"
	// ServedAnnotation is what the data plane answers with: the digest of the split that it serves.
	ServedAnnotation = "toy.siskin.dev/served"
)

// Router writes one ConfigMap.
type Router struct {
	c    client.Client
	live client.Reader
}

var _ router.Router = (*Router)(nil)

// Registration registers the router.
func Registration() router.Registration {
	return router.Registration{
		Names:       []string{Name},
		New:         func(c client.Client, live client.Reader) router.Router { return &Router{c: c, live: live} },
		AddToScheme: corev1.AddToScheme,
		Owns:        []client.Object{&corev1.ConfigMap{}},
		Watches: []router.Watch{{Object: &corev1.ConfigMap{}, Of: func(c *siskinv1.Canary) []types.NamespacedName {
			return []types.NamespacedName{{Namespace: c.Namespace, Name: Table(c)}}
		}}},
		Claims: func(c *siskinv1.Canary) []router.Claim {
			return []router.Claim{{Kind: "ConfigMap", Name: Table(c), Field: "metadata.annotations[" + TableAnnotation + "]"}}
		},
	}
}

// Table is the name of a Canary's table.
func Table(c *siskinv1.Canary) string { return c.Annotations[TableAnnotation] }

// Capabilities : weights and nothing else.
func (r *Router) Capabilities(context.Context, *siskinv1.Canary) router.Capabilities {
	return router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights), Ceiling: router.EvidenceAccepted}
}

// Validate wants a table.
func (r *Router) Validate(in router.Intent) error {
	if Table(in.Owner) == "" {
		return &router.InvalidError{Router: Name, Field: "metadata.annotations[" + TableAnnotation + "]", Message: "name a ConfigMap"}
	}
	return nil
}

// Apply writes the ConfigMap if it differs.
func (r *Router) Apply(ctx context.Context, in router.Intent) (router.Receipt, error) {
	var receipt router.Receipt
	if err := r.Capabilities(ctx, in.Owner).Check(Name, in); err != nil {
		return receipt, err
	}
	var table corev1.ConfigMap
	if err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: Table(in.Owner)}, &table); apierrors.IsNotFound(err) {
		return receipt, fmt.Errorf("ConfigMap %s: %w", Table(in.Owner), router.ErrNotFound)
	} else if err != nil {
		return receipt, fmt.Errorf("reading the table: %w", err)
	}
	live, err := r.get(ctx, in)
	if err != nil {
		return receipt, err
	}
	want := &corev1.ConfigMap{ObjectMeta: owned.Meta(in.Owner, name(in), nil), Data: data(in)}
	digest, err := owned.Digest(want.Data)
	if err != nil {
		return receipt, fmt.Errorf("sealing %s: %w", want.Name, err)
	}
	want.Annotations[siskinv1.WrittenAnnotation] = digest
	if live != nil && owned.MetaCovers(live, want) && maps.Equal(live.Data, want.Data) {
		return receipt, nil
	}
	receipt.Changed, receipt.Object = true, "ConfigMap "+want.Name
	if live != nil && digestOf(live) != live.Annotations[siskinv1.WrittenAnnotation] {
		receipt.Foreign, receipt.By = true, owned.Writer(ctx, r.live, live, "data")
	}
	return receipt, owned.Write(ctx, r.c, want, &corev1.ConfigMap{})
}

// Observe compares the ConfigMap with the split, and the data plane's answer with the ConfigMap.
func (r *Router) Observe(ctx context.Context, in router.Intent) (router.Observation, error) {
	obs := router.Observation{MetricsKind: meter.App}
	live, err := r.get(ctx, in)
	switch {
	case err != nil:
		return obs, err
	case live == nil:
		obs.Reason, obs.Message = "SplitMissing", "There is no ConfigMap "+name(in)+"."
		return obs, nil
	}
	obs.Current, obs.Known = splitOf(live, in), true
	switch {
	case !maps.Equal(live.Data, data(in)):
		obs.Reason, obs.Message = "SpecDiffers", "ConfigMap "+live.Name+" says something else."
	case live.Annotations[ServedAnnotation] != digestOf(live):
		obs.Evidence, obs.Reason, obs.Message = router.EvidenceWritten, "NotServed", "Nobody has answered yet."
	default:
		obs.Evidence = router.EvidenceAccepted
	}
	return obs, nil
}

// Release deletes the ConfigMap: the table leads to the apex by itself.
func (r *Router) Release(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil || live == nil {
		return err
	}
	if err := r.c.Delete(ctx, live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting ConfigMap %s: %w", live.Name, err)
	}
	return nil
}

// Orphan leaves the ConfigMap without an owner.
func (r *Router) Orphan(ctx context.Context, in router.Intent) error {
	live, err := r.get(ctx, in)
	if err != nil || live == nil {
		return err
	}
	return owned.Orphan(ctx, r.c, live, in.Owner)
}

// GiveBack has nothing to do: it adopts nothing.
func (r *Router) GiveBack(context.Context, router.Intent) error { return nil }

func (r *Router) get(ctx context.Context, in router.Intent) (*corev1.ConfigMap, error) {
	var live corev1.ConfigMap
	err := r.c.Get(ctx, client.ObjectKey{Namespace: in.Owner.Namespace, Name: name(in)}, &live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	case err != nil:
		return nil, fmt.Errorf("reading ConfigMap %s: %w", name(in), err)
	}
	return &live, nil
}

func name(in router.Intent) string { return Table(in.Owner) + "-split" }

func data(in router.Intent) map[string]string {
	return map[string]string{in.Primary: strconv.Itoa(int(in.Split.Primary)), in.Canary: strconv.Itoa(int(in.Split.Canary))}
}

func splitOf(live *corev1.ConfigMap, in router.Intent) router.Split {
	share := func(svc string) int32 {
		n, err := strconv.ParseInt(live.Data[svc], 10, 32)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	return router.Split{Primary: share(in.Primary), Canary: share(in.Canary)}
}

func digestOf(live *corev1.ConfigMap) string {
	digest, err := owned.Digest(live.Data)
	if err != nil {
		return ""
	}
	return digest
}
