package observe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// ScalerSource is where autoscalers are read. They are read without their Go types: one code for both kinds, and a copy for the canary
// has all fields, also those that Siskin has never heard of.
type ScalerSource struct {
	// Reader reads unstructured objects; nil: the Observer's client.
	Reader client.Reader
	// Kinds that the API server has.
	Kinds []schema.GroupVersionKind
	// MarkIndex is the cache's field index of autoscalers by what scaler.Keys says; "": all of the namespace are looked at.
	MarkIndex string
}

// Scalers are the autoscalers that concern a Canary.
type Scalers struct {
	// Main is the one that the spec names, nil if it cannot be used; Problem tells why. If the spec names none any more, it is the one
	// that goes on scaling the primary, because it would wake the target.
	Main    *scaler.Scaler
	Problem string
	// Copy is the canary's own; Leftover are those of autoscalers that the spec named before.
	Copy     *unstructured.Unstructured
	Leftover []*unstructured.Unstructured
	// User is the user's, which takes the place of Copy. Claimed are those that Siskin made and that somebody else has
	// applied since: they are to be given up.
	User    *unstructured.Unstructured
	Claimed []*unstructured.Unstructured
	// Strays are marked to scale the primary and are not in the spec any more.
	Strays []*scaler.Scaler
}

// scalers reads the autoscalers. Where none can be, nothing is read.
func (o *Observer) scalers(ctx context.Context, w *World) error {
	if len(o.Scalers.Kinds) == 0 && w.Canary.Spec.AutoscalerRef == nil {
		return nil
	}
	src := o.Scalers
	if src.Reader == nil {
		src.Reader = o.Client
	}
	if err := src.strays(ctx, w); err != nil {
		return err
	}
	ref := w.Canary.Spec.AutoscalerRef
	if ref == nil {
		w.Scalers.stay()
		return nil
	}
	gvk, err := scaler.GVK(ref)
	if err != nil {
		w.Scalers.Problem = err.Error()
		return nil //nolint:nilerr // it is shown
	}
	obj, err := src.get(ctx, gvk, w.Canary.Namespace, ref.Name)
	if err != nil {
		return err
	}
	trial, err := src.get(ctx, gvk, w.Canary.Namespace, scaler.CopyName(ref.Name))
	if err != nil {
		return err
	}
	w.Scalers.tell(trial, w.Canary)
	if obj == nil {
		w.Scalers.Problem = src.missing(gvk, ref.Name)
		return nil
	}
	s := scaler.Of(obj, w.Canary.Spec.TargetRef, w.Pods())
	if other := s.Foreign(); other != "" {
		w.Scalers.Problem = fmt.Sprintf("%s scales %s: point it at %s %s, or correct spec.autoscalerRef", s, other,
			w.Canary.Spec.TargetRef.Kind, w.Canary.Spec.TargetRef.Name)
		return nil
	}
	w.Scalers.Main = s
	return nil
}

// tell tells whose the autoscaler is that has the name of the canary's own; nil: there is none. The user's takes its
// place if it scales the canary and lets it rest.
func (s *Scalers) tell(obj *unstructured.Unstructured, canary *siskinv1.Canary) {
	switch {
	case obj == nil:
		return
	case made(obj, canary) && service.Claimant(obj) == "":
		s.Copy = obj
		return
	case made(obj, canary):
		s.Claimed = append(s.Claimed, obj)
	}
	if scaler.Unfit(obj, canary.Spec.TargetRef) == "" {
		s.User = obj
	}
}

// made tells whether a Canary made an autoscaler: it is its controller, or left it behind.
func made(obj *unstructured.Unstructured, canary *siskinv1.Canary) bool {
	ref := metav1.GetControllerOf(obj)
	return metav1.IsControlledBy(obj, canary) || ref == nil && slices.Contains(scaler.Keys(obj), scaler.CopyKey(canary.Name))
}

// stay makes the first of those that must not go back to the target Main.
func (s *Scalers) stay() {
	slices.SortFunc(s.Strays, func(a, b *scaler.Scaler) int { return cmp.Compare(a.String(), b.String()) })
	if i := slices.IndexFunc(s.Strays, (*scaler.Scaler).Wakes); i >= 0 {
		s.Main = s.Strays[i]
		s.Strays = slices.Delete(s.Strays, i, i+1)
	}
}

// drifted tells that a stray is not as it should be, or that a copy has been left over.
func (s *Scalers) drifted() bool {
	return len(s.Leftover)+len(s.Claimed) > 0 || slices.ContainsFunc(s.Strays, func(s *scaler.Scaler) bool { return !scaler.Same(s.Object(), s.Left()) })
}

// Autoscaler is what the spec says of the primary's autoscaler; nothing is said of one that it does not name.
func (w *World) Autoscaler() *siskinv1.AutoscalerRef {
	if ref := w.Canary.Spec.AutoscalerRef; ref != nil {
		return ref
	}
	return &siskinv1.AutoscalerRef{}
}

// Pods is the template of the pods that serve, else that of the target's; nil if neither is known, or a Service.
func (w *World) Pods() *corev1.PodTemplateSpec {
	for _, obj := range []client.Object{w.Primary, w.Target} {
		if pods := target.Pods(obj); pods != nil {
			return pods
		}
	}
	return nil
}

// Size is the number of pods that an autoscaler which the spec has ceased to name gave the primary, if that is to be recorded as the
// user's: what was recorded before is older. A target that the user has switched off stays so.
func (w *World) Size() (int32, bool) {
	if w.Canary.Spec.AutoscalerRef != nil || w.Primary == nil || w.Target == nil || (w.Scalers.Main == nil && len(w.Scalers.Strays) == 0) {
		return 0, false
	}
	marks := w.Target.GetAnnotations()
	n, recorded := target.Observe(w.Primary).Replicas, marks[siskinv1.ReplicasAnnotation]
	return n, marks[siskinv1.HeldAnnotation] != "" && n > 0 && recorded != "0" && recorded != strconv.Itoa(int(n))
}

func (src ScalerSource) missing(gvk schema.GroupVersionKind, name string) string {
	if !src.served(gvk) {
		return fmt.Sprintf("this cluster has no %s of %s: install its CRD and restart Siskin, or correct spec.autoscalerRef", gvk.Kind, gvk.GroupVersion())
	}
	return fmt.Sprintf("%s %s does not exist: create it, or correct spec.autoscalerRef", gvk.Kind, name)
}

func (src ScalerSource) served(gvk schema.GroupVersionKind) bool {
	return slices.Contains(src.Kinds, gvk)
}

// get returns an autoscaler, nil if there is none.
func (src ScalerSource) get(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	if !src.served(gvk) {
		return nil, nil //nolint:nilnil // that it does not exist is an answer here
	}
	obj := scaler.New(gvk, namespace, name)
	err := src.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, obj)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil, nil //nolint:nilnil // that it does not exist is an answer here
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", gvk.Kind, name, err)
	}
	return obj, nil
}

// strays finds the autoscalers that Siskin pointed at the primary and that the spec does not name, and the copies of such for the
// canary: spec.autoscalerRef was changed. One
// that belongs to another object has its marks from that, as KEDA gives the marks of a ScaledObject to its HorizontalPodAutoscaler.
func (src ScalerSource) strays(ctx context.Context, w *World) error {
	primary := target.CloneName(w.Canary.Spec.TargetRef.Name, siskinv1.RolePrimary)
	own := scaler.CopyKey(w.Canary.Name)
	ref := w.Autoscaler()
	for _, gvk := range src.Kinds {
		marked, err := src.list(ctx, gvk, w.Canary.Namespace, primary)
		if err != nil {
			return err
		}
		for _, obj := range marked {
			if (ref.Kind != gvk.Kind || ref.Name != obj.GetName()) && metav1.GetControllerOf(obj) == nil {
				w.Scalers.Strays = append(w.Scalers.Strays, scaler.Of(obj, w.Canary.Spec.TargetRef, w.Pods()))
			}
		}
		copies, err := src.list(ctx, gvk, w.Canary.Namespace, own)
		if err != nil {
			return err
		}
		for _, obj := range copies {
			switch another := ref.Kind != gvk.Kind || scaler.CopyName(ref.Name) != obj.GetName(); {
			case !another || !metav1.IsControlledBy(obj, w.Canary):
			case service.Claimant(obj) != "":
				w.Scalers.Claimed = append(w.Scalers.Claimed, obj)
			default:
				w.Scalers.Leftover = append(w.Scalers.Leftover, obj)
			}
		}
	}
	return nil
}

// list returns the autoscalers of a kind that have a key. It waits for no other Canary's write; what it finds is read
// by name.
func (src ScalerSource) list(ctx context.Context, gvk schema.GroupVersionKind, namespace, key string) ([]*unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	opts := []client.ListOption{client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency}
	if src.MarkIndex != "" {
		opts = append(opts, client.MatchingFields{src.MarkIndex: key})
	}
	if err := src.Reader.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("listing autoscalers of kind %s: %w", gvk.Kind, err)
	}
	var out []*unstructured.Unstructured
	for i := range list.Items {
		if !slices.Contains(scaler.Keys(&list.Items[i]), key) {
			continue
		}
		obj, err := src.get(ctx, gvk, namespace, list.Items[i].GetName())
		if err != nil {
			return nil, err
		}
		if obj != nil && slices.Contains(scaler.Keys(obj), key) {
			out = append(out, obj)
		}
	}
	return out, nil
}

// scalerOf makes the plan's view of the autoscalers. An autoscaler that is not in the spec any more counts as one that is not as it
// should be, until it has been given back. One that is not given back counts as the primary's.
func scalerOf(w *World, z plan.State) plan.Scaler {
	ref, main := w.Canary.Spec.AutoscalerRef, w.Scalers.Main
	if main == nil {
		stray := len(w.Scalers.Strays)+len(w.Scalers.Leftover)+len(w.Scalers.Claimed) > 0
		return plan.Scaler{
			Found: stray, OnPrimary: stray, Floor: z.Floor, Drifted: w.Scalers.drifted(), Canary: w.Scalers.Copy != nil,
			Missing: ref != nil, Message: w.Scalers.Problem, Restored: !stray && w.Scalers.Copy == nil,
			CanaryUsers: w.Scalers.User != nil,
		}
	}
	s := plan.Scaler{
		Found: true, OnPrimary: main.OnPrimary(), Floor: main.Floor(), Canary: w.Scalers.Copy != nil, Least: least(w, z),
		Window: main.Window(), CanaryUsers: w.Scalers.User != nil,
		Restored: !main.Marked() && w.Scalers.Copy == nil && len(w.Scalers.Strays)+len(w.Scalers.Leftover)+len(w.Scalers.Claimed) == 0,
	}
	_, unrecorded := w.Size()
	s.Drifted = unrecorded || w.Scalers.drifted() || (s.OnPrimary && !scaler.Same(main.Object(), main.Pointed(w.Autoscaler(), main.Floor())))
	if w.Scalers.Copy != nil && ref != nil && ref.Canary != nil {
		want, err := main.Copy(w.Canary, ref.Canary)
		s.Drifted = s.Drifted || (err == nil && !scaler.Runs(w.Scalers.Copy, want))
	}
	return s
}

// least is the lowest number of pods that the autoscaler allows the primary, from where it goes on by itself: no HorizontalPodAutoscaler
// brings a workload back from zero. KEDA may leave the primary at zero, but not when a new revision is there to be judged.
func least(w *World, z plan.State) int32 {
	n := w.Scalers.Main.Least()
	fresh := w.Target != nil && w.RevisionName != z.Stable && w.RevisionName != z.Rejected && z.Stable != ""
	if n == 0 && (fresh || !z.Phase.Idle()) {
		return 1
	}
	return n
}

// follow leaves the size of the primary to its autoscaler, to the one that the spec names also while that is not there or somebody has just
// pointed it elsewhere: the number that was recorded when the target was held is an old one. A target that was released because the
// Canary is being deleted has its own number; what the autoscaler does to the primary meanwhile is not waited for.
func follow(w *World, s *plan.Snapshot) {
	if s.Deleting && s.Target.Found && s.Target.Released {
		s.Scaler.OnPrimary = false
	}
	given := w.Canary.Spec.AutoscalerRef != nil || w.Scalers.Main != nil
	if !given || !s.Target.Found || s.Target.Released || s.Primary.Replicas == 0 || s.Target.Off {
		return
	}
	s.Target.Replicas = s.Primary.Replicas
}
