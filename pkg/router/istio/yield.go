package istio

import (
	"context"
	"slices"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// claimed returns the whole of a VirtualService that Siskin generated and somebody else has applied, rules and all: it is theirs from then
// on. nil: nobody has, and what was only edited is put right, as ever. The API server is asked only about one that was applied at all.
func (r *Router) claimed(ctx context.Context, live *istiov1.VirtualService) (*unstructured.Unstructured, error) {
	if service.Claimant(live) == "" {
		return nil, nil //nolint:nilnil // nobody is an answer here, not an error
	}
	raw, err := r.whole(ctx, live)
	if err != nil {
		return nil, err
	}
	last := owned.AppliedSpec(raw)
	theirs := slices.ContainsFunc(listNames(), func(name string) bool {
		_, given := last[name]
		return given || owned.Applies(raw, name)
	})
	if !theirs {
		return nil, nil //nolint:nilnil // it was applied without rules
	}
	return raw, nil
}

// yield gives a generated VirtualService up that somebody else has applied, in one write: it loses its owner and all that says it is
// generated, and of its spec what nobody but Siskin asks for. It returns what then is there.
func (r *Router) yield(
	ctx context.Context, in router.Intent, live *istiov1.VirtualService, raw *unstructured.Unstructured,
) (*istiov1.VirtualService, error) {
	owned.Disown(raw, in.Owner)
	last, spec := owned.AppliedSpec(raw), fields{}
	untouched := !foreign(live, in) // Siskin wrote over what was applied
	for key := range object(raw.Object, "spec") {
		if _, given := last[key]; !given && !owned.Applies(raw, key) {
			spec[key] = nil
		}
	}
	for _, name := range listNames() {
		if rules, given := last[name]; given && untouched && !owned.Applies(raw, name) {
			spec[name] = rules
		}
	}
	gone := fields{}
	for _, key := range []string{
		siskinv1.AppliedAnnotation, siskinv1.WrittenAnnotation, siskinv1.WrittenAtAnnotation, siskinv1.RulesAnnotation,
	} {
		gone[key] = nil
	}
	patch := fields{
		"metadata": fields{
			"ownerReferences": raw.GetOwnerReferences(), "labels": fields{siskinv1.CanaryLabel: nil}, "annotations": gone,
		},
		"spec": spec,
	}
	if err := r.patch(ctx, raw, patch); err != nil {
		return nil, err
	}
	return r.get(ctx, in)
}
