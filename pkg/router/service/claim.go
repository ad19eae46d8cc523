package service

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// Claimant names who has applied an object that Siskin generated: it is somebody else's from then on. "": nobody has.
// What was only edited is put right, as ever. The cache tells it by an annotation, since it does not keep who owns
// what: see Show.
func Claimant(obj metav1.Object) string {
	a := obj.GetAnnotations()
	if by := a[siskinv1.ClaimedAnnotation]; by != "" {
		return by
	}
	if a[corev1.LastAppliedConfigAnnotation] != "" {
		return "kubectl apply"
	}
	for _, e := range obj.GetManagedFields() {
		if e.Operation == metav1.ManagedFieldsOperationApply && e.Manager != siskinv1.FieldManager && e.Subresource == "" && has(e, "f:spec") {
			return e.Manager
		}
	}
	return ""
}

// Show keeps, on a generated object that goes into a cache, who has applied it, before the cache drops that.
func Show(obj metav1.Object) {
	if obj.GetLabels()[siskinv1.CanaryLabel] == "" {
		return
	}
	by := Claimant(obj)
	if by == "" {
		return
	}
	a := obj.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[siskinv1.ClaimedAnnotation] = by
	obj.SetAnnotations(a)
}

// yield gives a generated apex up that somebody else has applied, in one write: it loses its owner and all that says it
// is generated. What it serves stays until the view of its new author counts; svc is what was written.
func (a *Applier) yield(ctx context.Context, in In, svc *corev1.Service, res *Result) error {
	whole, err := a.whole(ctx, svc)
	if err != nil {
		return err
	}
	*svc = *whole
	w, serving := claimed(svc), svc.Spec.Selector[siskinv1.RoleLabel]
	var noted error
	changed, err := a.patch(ctx, svc, func(s *corev1.Service) {
		owned.Disown(s, in.Canary)
		delete(s.Labels, siskinv1.CanaryLabel)
		delete(s.Annotations, siskinv1.AppliedAnnotation)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		if role := cmp.Or(in.Serving, serving); role != "" {
			s.Spec.Selector = withRole(s.Spec.Selector, role)
			s.Annotations[siskinv1.ServingAnnotation], s.Annotations[HolderAnnotation] = role, in.Canary.Name
			noted = w.note(s, digestOf(s))
		}
	})
	if err != nil || noted != nil {
		return cmp.Or(err, noted)
	}
	if changed {
		res.Changed, res.Adopted = append(res.Changed, svc.Name), append(res.Adopted, svc.Name)
	}
	return nil
}

// claimed is what those want who applied a generated Service.
func claimed(svc *corev1.Service) wish {
	w := wish{selector: withoutRole(svc.Spec.Selector)}
	if applied, ok := appliedSpec(svc); ok {
		if len(applied.Selector) > 0 {
			w.selector = applied.Selector
		}
		w.ports = numbered(applied.Ports, svc.Spec.Ports)
	}
	for _, p := range svc.Spec.Ports {
		key := fmt.Sprintf(`k:{"port":%d,"protocol":%q}`, p.Port, protocolOf(p))
		if at(w.ports, p) < 0 && slices.ContainsFunc(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
			return e.Operation == metav1.ManagedFieldsOperationApply && e.Manager != siskinv1.FieldManager && has(e, "f:spec", "f:ports", key)
		}) {
			w.ports = append(w.ports, p)
		}
	}
	if len(w.ports) == 0 {
		w.ports = slices.Clone(svc.Spec.Ports)
	}
	return w
}
