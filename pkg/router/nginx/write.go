package nginx

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// write writes the canary Ingress if it differs.
func (r *Router) write(ctx context.Context, in router.Intent, want, live *netv1.Ingress) (router.Receipt, error) {
	if err := owned.Seal(want, want); err != nil {
		return router.Receipt{}, err
	}
	if live != nil && same(live, want, in) && covered(live, want) {
		return router.Receipt{}, nil
	}
	digest, err := owned.Digest(stateOf(want, in))
	if err != nil {
		return router.Receipt{}, err
	}
	want.Annotations[siskinv1.WrittenAnnotation] = digest
	want.Annotations[siskinv1.WrittenAtAnnotation] = r.clock.Now().UTC().Format(time.RFC3339Nano)
	receipt := router.Receipt{Changed: true, Object: kind + " " + want.Name}
	if live != nil && foreign(live, in) {
		receipt.Foreign, receipt.By = true, r.writer(ctx, live)
	}
	var kept netv1.Ingress
	if err := owned.Write(ctx, r.c, want, &kept); err != nil {
		return receipt, err
	}
	if same(&kept, want, in) {
		return receipt, nil
	}
	if err := r.strip(ctx, in, want, &kept); err != nil {
		return receipt, err
	}
	if !same(&kept, want, in) { // and what is not kept is nobody's change
		receipt.Foreign, receipt.By = false, ""
		return receipt, invalid("spec.ingressRef", "the API server does not keep what is written to Ingress %s: look for a webhook or policy that changes it",
			want.Name)
	}
	return receipt, nil
}

// writer is who wrote any of what Siskin writes; "" if that cannot be told.
func (r *Router) writer(ctx context.Context, live *netv1.Ingress) string {
	for _, field := range []string{"rules", "annotations", "ingressClassName", "defaultBackend"} {
		if by := owned.Writer(ctx, r.live, live, field); by != "" {
			return by
		}
	}
	return ""
}

// strip takes away what others added that decides who is led where: a server-side apply leaves it, as it is theirs.
func (r *Router) strip(ctx context.Context, in router.Intent, want, kept *netv1.Ingress) error {
	gone := map[string]any{}
	for name := range notes(kept, in) {
		if key := prefix(in.Owner) + name; want.Annotations[key] == "" {
			gone[key] = nil
		}
	}
	if want.Annotations[legacyClass] == "" {
		gone[legacyClass] = nil
	}
	spec := map[string]any{}
	if want.Spec.DefaultBackend == nil {
		spec["defaultBackend"] = nil
	}
	if want.Spec.IngressClassName == nil && class(kept) == DisabledClass {
		spec["ingressClassName"] = nil
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": gone}, "spec": spec})
	if err != nil {
		return fmt.Errorf("changing Ingress %s: %w", kept.Name, err)
	}
	if err := r.c.Patch(ctx, kept, client.RawPatch(types.MergePatchType, data), client.FieldOwner(siskinv1.FieldManager)); err != nil {
		return fmt.Errorf("taking what others added out of Ingress %s: %w", kept.Name, err)
	}
	return nil
}

// covered tells whether live has the metadata of want. What tells of the write itself is no reason to write.
func covered(live, want metav1.Object) bool {
	plain := metav1.ObjectMeta{Labels: want.GetLabels(), Annotations: maps.Clone(want.GetAnnotations()), OwnerReferences: want.GetOwnerReferences()}
	delete(plain.Annotations, siskinv1.WrittenAnnotation)
	delete(plain.Annotations, siskinv1.WrittenAtAnnotation)
	return owned.MetaCovers(live, &plain)
}
