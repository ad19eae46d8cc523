package canary

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

func TestWhatIsKeptInTheCache(t *testing.T) {
	heavy := metav1.ObjectMeta{
		Name: "web", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "mine": "yes"}, Labels: map[string]string{"shard": "a"},
	}
	light := func(t *testing.T, o client.Object) {
		t.Helper()
		if len(o.GetManagedFields()) != 0 || len(o.GetAnnotations()) != 1 || o.GetAnnotations()["mine"] != "yes" {
			t.Errorf("%+v", o)
		}
	}
	for name, f := range map[string]toolscache.TransformFunc{
		"anything": Slim, "endpoints": SlimEndpoints, "ConfigMaps": SlimConfig, "Canaries": SlimCanary(nil),
	} {
		if out, err := f(toolscache.DeletedFinalStateUnknown{Key: "shop/web"}); err != nil || out == nil {
			t.Errorf("%s: a tombstone became %v, %v", name, out, err)
		}
	}
	svc := &corev1.Service{ObjectMeta: *heavy.DeepCopy(), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}}
	if _, err := Slim(svc); err != nil || svc.Spec.Selector["app"] != "web" {
		t.Errorf("%+v, %v", svc, err)
	}
	light(t, svc)

	slice := &discoveryv1.EndpointSlice{ObjectMeta: *heavy.DeepCopy(), Endpoints: []discoveryv1.Endpoint{{
		Addresses: []string{"10.0.0.1"}, NodeName: new("node"), Zone: new("zone"), TargetRef: &corev1.ObjectReference{Name: "pod"},
		Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
	}}}
	if _, err := SlimEndpoints(slice); err != nil {
		t.Fatal(err)
	}
	light(t, slice)
	if e := slice.Endpoints[0]; e.NodeName != nil || e.Zone != nil || e.TargetRef == nil || len(e.Addresses) != 1 || !*e.Conditions.Ready {
		t.Errorf("%+v", e)
	}

	data := &metav1.PartialObjectMetadata{ObjectMeta: *heavy.DeepCopy()}
	data.Annotations[siskinv1.ConfigTrackingAnnotation] = "disabled"
	if _, err := SlimConfig(data); err != nil || len(data.Labels)+len(data.ManagedFields) != 0 || len(data.Annotations) != 1 ||
		data.Annotations[siskinv1.ConfigTrackingAnnotation] != "disabled" {
		t.Errorf("%+v, %v", data.ObjectMeta, err)
	}

	for name, tc := range map[string]struct {
		reason, selector string
		whole            bool
	}{
		"no shards":     {"all are ours", "", true},
		"ours":          {"it is reconciled", "shard=a", true},
		"somebody's":    {"only what it claims matters", "shard=b", false},
		"the remainder": {"labels that are missing count", "shard!=a", false},
	} {
		c := newSharded()
		c.ObjectMeta = *heavy.DeepCopy()
		var selector labels.Selector
		if tc.selector != "" {
			var err error
			if selector, err = labels.Parse(tc.selector); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := SlimCanary(selector)(c); err != nil {
			t.Fatal(err)
		}
		light(t, c)
		if whole := c.Spec.Analysis.Interval != "" && c.Status.Rollout != nil; whole != tc.whole {
			t.Errorf("%s: %s: whole %t", name, tc.reason, whole)
		}
		if want, got := claimKeys(newSharded()), claimKeys(c); len(got) != 2 || !slices.Equal(got, want) || !begun(c) {
			t.Errorf("%s: what it claims, or that it has begun, is lost: %v", name, got)
		}
	}
}

func newSharded() *siskinv1.Canary {
	c := &siskinv1.Canary{}
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	c.Spec.Service.Name, c.Spec.Analysis.Interval = "shop", "1m"
	c.Status.Rollout, c.Status.Stable = &siskinv1.RolloutStatus{ID: 1}, &siskinv1.RevisionStatus{Revision: "web-1"}
	return c
}

func TestWhichCanariesWakeAShard(t *testing.T) {
	selector, err := labels.Parse("shard=a")
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Selector: selector}
	ours, theirs := newSharded(), newSharded()
	ours.Labels, theirs.Labels = map[string]string{"shard": "a"}, map[string]string{"shard": "b"}
	p := r.sharded(predicate.GenerationChangedPredicate{})
	edited := func(c *siskinv1.Canary) *siskinv1.Canary {
		c = c.DeepCopy()
		c.Generation++
		return c
	}
	for name, tc := range map[string]struct {
		was, is *siskinv1.Canary
		want    bool
	}{
		"ours, edited":   {ours, edited(ours), true},
		"ours, as it is": {ours, ours, false},
		"theirs, edited": {theirs, edited(theirs), false},
		"comes to us":    {theirs, ours, true},
		"leaves us":      {ours, theirs, true},
	} {
		if got := p.Update(event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}); got != tc.want {
			t.Errorf("%s: wakes %t", name, got)
		}
	}
	if !p.Create(event.CreateEvent{Object: ours}) || p.Create(event.CreateEvent{Object: theirs}) ||
		!p.Delete(event.DeleteEvent{Object: ours}) || p.Delete(event.DeleteEvent{Object: theirs}) {
		t.Error("only ours are ours")
	}
}

func TestWhatFreesAClaim(t *testing.T) {
	one, other := newSharded(), newSharded()
	other.Spec.Service.Name = "web"
	if !(&Reconciler{}).freed().Delete(event.DeleteEvent{Object: one}) || (&Reconciler{}).freed().Create(event.CreateEvent{Object: one}) {
		t.Error("a deletion frees, a creation does not")
	}
	if !(&Reconciler{}).freed().Update(event.UpdateEvent{ObjectOld: one, ObjectNew: other}) || (&Reconciler{}).freed().Update(event.UpdateEvent{ObjectOld: one, ObjectNew: one}) {
		t.Error("another name of the Service frees, nothing else does")
	}
}
