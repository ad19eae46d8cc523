package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/restored"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// HolderAnnotation names, on an adopted Service, the Canary that adopted it. With it a Service is given back by the one that
// took it, also when the target's labels are others by then, and two Canaries never pull at one Service.
const HolderAnnotation = siskinv1.CanaryLabel

// Serve makes the apex lead to the pods of a role; it is how a router without weights moves traffic. It tells whether
// it wrote. It never refuses what Apply would have refused at first: the way back must not be closed by an edit.
func (a *Applier) Serve(ctx context.Context, in router.Intent, role string) (bool, error) {
	canary := in.Owner
	svc, err := a.get(ctx, canary.Namespace, in.Apex)
	if err != nil {
		return false, err
	}
	if svc == nil {
		return false, fmt.Errorf("moving Service %s/%s to %s: %w", canary.Namespace, in.Apex, role, router.ErrNotFound)
	}
	ports := in.PrimaryPorts
	if role == siskinv1.RoleCanary {
		ports = in.CanaryPorts
	}
	switch owned.By(svc, canary) {
	case owned.Leftover:
		return false, leftover(svc)
	case owned.Ours:
		return a.patch(ctx, svc, func(s *corev1.Service) {
			s.Spec.Selector = withRole(s.Spec.Selector, role)
			lead(s, ports)
		})
	case owned.Foreign:
	}
	if !marked(svc) {
		if err := adoptable(svc); err != nil {
			return false, err
		}
	}
	if err := candidate(svc).Taken(ctx, a.c, canary); err != nil {
		return false, err
	}
	return a.mark(ctx, canary, svc, role, withoutRole(svc.Spec.Selector), ports)
}

// lead makes a Service serve ports; nil: those that it has. Node ports stay with their numbers.
func lead(s *corev1.Service, ports []corev1.ServicePort) {
	if len(ports) > 0 && !SamePorts(s.Spec.Ports, ports) {
		s.Spec.Ports = numbered(ports, s.Spec.Ports)
	}
}

// mark makes an adopted Service lead to a role, by a selector and by ports (nil: those that it has), and records whose
// it is and what its author wants of both, also when that was written only since.
func (a *Applier) mark(ctx context.Context, canary *siskinv1.Canary, svc *corev1.Service, role string, base map[string]string,
	ports []corev1.ServicePort,
) (bool, error) {
	w, applied := wishOf(svc), ""
	_, replaced := leftIn(svc)
	replaces := !maps.Equal(withoutRole(w.selector), base) || len(ports) > 0 && !SamePorts(w.ports, ports)
	if replaced || replaces {
		whole, err := a.whole(ctx, svc)
		if err != nil {
			return false, err
		}
		if whole.ResourceVersion == svc.ResourceVersion { // else the write is refused, and the next pass sees it
			w, applied = told(whole), digestOf(whole)
		}
	}
	var noted error
	changed, err := a.patch(ctx, svc, func(s *corev1.Service) {
		s.Spec.Selector = withRole(base, role)
		lead(s, ports)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[siskinv1.ServingAnnotation] = role
		s.Annotations[HolderAnnotation] = canary.Name
		noted = w.note(s, applied)
	})
	if noted != nil {
		return false, noted
	}
	return changed, err
}

// restore gives a Service back: the selector and the ports that its author wants, as far as they lead to the pods of in,
// and no trace of Siskin, in one write, because the admission policy adds the role to every Service that has the annotation.
func (a *Applier) restore(ctx context.Context, svc *corev1.Service, in In) (bool, error) {
	if !marked(svc) {
		return false, nil
	}
	svc, err := a.whole(ctx, svc)
	if err != nil || !marked(svc) {
		return false, err
	}
	wanted := told(svc)
	w := in.returned(wanted, svc)
	changed, err := a.patch(ctx, svc, func(s *corev1.Service) {
		s.Spec.Selector = w.selector
		lead(s, w.ports)
		for _, key := range []string{
			siskinv1.ServingAnnotation, siskinv1.SelectorAnnotation, siskinv1.PortsAnnotation, siskinv1.LeftAnnotation, HolderAnnotation,
		} {
			delete(s.Annotations, key)
		}
		if !w.same(wanted) {
			s.Annotations[siskinv1.RestoredFromAnnotation] = restored.NoteService(corev1.ServiceSpec{Selector: wanted.selector, Ports: wanted.ports}, s.Spec)
		}
	})
	if err != nil || !changed {
		return changed, err
	}
	return true, a.disown(ctx, svc)
}

// disown takes Siskin's field manager off a Service that was given back, so that its author's next server-side apply meets
// no conflict. It is a write of its own: the one before makes Siskin the manager of what it restores.
func (a *Applier) disown(ctx context.Context, svc *corev1.Service) error {
	var others []metav1.ManagedFieldsEntry
	for _, entry := range svc.ManagedFields {
		if entry.Manager != siskinv1.FieldManager {
			others = append(others, entry)
		}
	}
	if len(others) == 0 || len(others) == len(svc.ManagedFields) {
		return nil
	}
	base := svc.DeepCopy()
	svc.ManagedFields = others
	err := a.c.Patch(ctx, svc, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}),
		client.FieldOwner(siskinv1.FieldManager))
	// A conflict means that somebody else wrote meanwhile. What matters is restored; only the ownership stays.
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("giving up Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	return nil
}

// patch writes what edit changes, and only if svc still is what was read. It tells whether there was anything to write.
func (a *Applier) patch(ctx context.Context, svc *corev1.Service, edit func(*corev1.Service)) (bool, error) {
	base := svc.DeepCopy()
	edit(svc)
	if equality.Semantic.DeepEqual(base.Spec, svc.Spec) && equality.Semantic.DeepEqual(base.ObjectMeta, svc.ObjectMeta) {
		return false, nil
	}
	err := a.c.Patch(ctx, svc, ssa.MergeFrom(base), client.FieldOwner(siskinv1.FieldManager))
	if err != nil {
		return false, fmt.Errorf("changing Service %s/%s: %w", base.Namespace, base.Name, err)
	}
	return true, nil
}

// marked tells whether a Service is adopted.
func marked(svc *corev1.Service) bool {
	_, serving := svc.Annotations[siskinv1.ServingAnnotation]
	_, selector := svc.Annotations[siskinv1.SelectorAnnotation]
	return serving || selector
}

func heldBy(svc *corev1.Service) string { return svc.Annotations[HolderAnnotation] }

// original returns the selector that the Service's author wants. Of an adopted Service that is the live one without the role:
// whoever wrote it last, with or without the admission policy, meant it. The record decides only about a role that the author
// had put there.
func original(svc *corev1.Service) map[string]string {
	if !marked(svc) {
		return svc.Spec.Selector
	}
	plain := withoutRole(svc.Spec.Selector)
	var recorded map[string]string
	if json.Unmarshal([]byte(svc.Annotations[siskinv1.SelectorAnnotation]), &recorded) != nil {
		return plain
	}
	had, replaced := leftIn(svc)
	if maps.Equal(withoutRole(recorded), plain) || replaced && maps.Equal(had.Selector, plain) {
		return recorded
	}
	return plain
}

// candidate is a Service that somebody else made, for the question whether it may be adopted.
func candidate(svc *corev1.Service) owned.Candidate {
	return owned.Candidate{Object: svc, Kind: "Service", Router: name, Holder: heldBy(svc), ApexOf: ApexName}
}

// adoptable refuses a Service that cannot be adopted or whose author does not want it.
func adoptable(svc *corev1.Service) error {
	c := candidate(svc)
	if err := c.OptedOut(); err != nil {
		return err
	}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return c.Refuse("is of type ExternalName and selects no pods: choose another spec.service.name")
	case len(svc.Spec.Selector) == 0:
		return c.Refuse("has no selector, so its endpoints are not Siskin's to choose: give it one, or choose another spec.service.name")
	}
	return nil
}

// notShared refuses an apex that also serves pods of other workloads, because with a role it would lose them.
func (a *Applier) notShared(ctx context.Context, in In, svc *corev1.Service) error {
	other, err := a.stranger(ctx, in, svc)
	if err != nil || other == "" {
		return err
	}
	loses := "would lose"
	if marked(svc) {
		loses = "has lost"
	}
	return candidate(svc).Refuse("also selects pods of other workloads (%s), which it %s: narrow its selector to those of %s",
		other, loses, in.Canary.Spec.TargetRef.Name)
}

// stranger returns what besides the target svc selects, or "": a workload, also one that has no pods at the moment, or a pod of
// something else.
func (a *Applier) stranger(ctx context.Context, in In, svc *corev1.Service) (string, error) {
	other, err := a.otherWorkload(ctx, in, svc)
	if err != nil || other != "" {
		return other, err
	}
	return a.otherPod(ctx, in, svc)
}

// otherPod returns the name of a pod that svc selects and the target does not, or "". Pods of Jobs do not count: that they are
// selected is a slip, and they come and go.
func (a *Applier) otherPod(ctx context.Context, in In, svc *corev1.Service) (string, error) {
	if len(in.Selector) == 0 {
		return "", nil
	}
	pods := metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	err := a.c.List(ctx, &pods, client.InNamespace(in.Canary.Namespace),
		client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(withoutRole(original(svc)))}, client.DisableReadYourWritesConsistency)
	if err != nil {
		return "", fmt.Errorf("listing the pods of Service %s: %w", svc.Name, err)
	}
	own := labels.SelectorFromSet(in.Selector)
	var names []string
	for i := range pods.Items {
		ref := metav1.GetControllerOf(&pods.Items[i])
		if ref != nil && ref.Kind != "Job" && !own.Matches(labels.Set(pods.Items[i].Labels)) {
			names = append(names, pods.Items[i].Name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return slices.Min(names), nil
}
