package canary

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// What a Canary generated wakes its owner; what anybody else made wakes those who route by it.
func TestWhoseRoutesWakeByName(t *testing.T) {
	owner := func(version, kind string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: "web", UID: "1", Controller: new(true)}}
	}
	for name, tc := range map[string]struct {
		owners []metav1.OwnerReference
		want   bool
	}{
		"its user's":       {nil, true},
		"an operator's":    {owner("example.org/v1", "Canary"), true},
		"one of a Canary":  {owner(siskinv1.GroupVersion.String(), "Canary"), false},
		"that of a syncer": {owner(siskinv1.GroupVersion.String(), "GitSync"), true},
	} {
		obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{OwnerReferences: tc.owners}}
		if got := theirs().Generic(event.GenericEvent{Object: obj}); got != tc.want {
			t.Errorf("%s: wakes %t", name, got)
		}
	}
}

func TestWhichChangesOfEndpointsWake(t *testing.T) {
	endpoint := func(pod string, ready, terminating bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod},
			Conditions: discoveryv1.EndpointConditions{Ready: new(ready), Terminating: new(terminating)},
		}
	}
	was := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Endpoints:  []discoveryv1.Endpoint{endpoint("a", true, false), endpoint("b", false, false)},
	}
	for name, tc := range map[string]struct {
		edit func(*discoveryv1.EndpointSlice)
		want bool
	}{
		"nothing":                   {func(*discoveryv1.EndpointSlice) {}, false},
		"an address":                {func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses[0] = "10.0.0.2" }, false},
		"one more that is unready":  {func(s *discoveryv1.EndpointSlice) { s.Endpoints = append(s.Endpoints, endpoint("c", false, false)) }, false},
		"an annotation":             {func(s *discoveryv1.EndpointSlice) { s.Annotations = map[string]string{"a": "b"} }, false},
		"in another order":          {func(s *discoveryv1.EndpointSlice) { s.Endpoints[0], s.Endpoints[1] = s.Endpoints[1], s.Endpoints[0] }, false},
		"one is ready":              {func(s *discoveryv1.EndpointSlice) { s.Endpoints[1] = endpoint("b", true, false) }, true},
		"one is on its way out":     {func(s *discoveryv1.EndpointSlice) { s.Endpoints[0] = endpoint("a", true, true) }, true},
		"another one in its place":  {func(s *discoveryv1.EndpointSlice) { s.Endpoints[0] = endpoint("c", true, false) }, true},
		"it belongs to another one": {func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "api" }, true},
	} {
		is := was.DeepCopy()
		tc.edit(is)
		if got := serving().Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != tc.want {
			t.Errorf("%s: wakes %t", name, got)
		}
	}
	if !serving().Create(event.CreateEvent{Object: was}) || !serving().Delete(event.DeleteEvent{Object: was}) {
		t.Error("a slice that comes or goes does not wake")
	}
}
