package observe_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

func TestThatAnEarlierSiskinGaveNoLabelIsNoEdit(t *testing.T) {
	without := func(d *appsv1.Deployment) {
		delete(d.Spec.Selector.MatchLabels, siskinv1.CloneLabel)
		delete(d.Spec.Template.Labels, siskinv1.CloneLabel)
	}
	cut := func(d *appsv1.Deployment) { delete(d.Spec.Template.Labels, siskinv1.RoleLabel) }
	for name, tc := range map[string]struct {
		edits []func(*appsv1.Deployment)
		want  bool
	}{
		"made by an earlier Siskin": {[]func(*appsv1.Deployment){without}, false},
		"and edited":                {[]func(*appsv1.Deployment){without, cut}, true},
		"made by this one":          {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, canary(), deployment(), snapshot(t, "r1", deployment()), clone("primary", "r1", deployment(), tc.edits...))
			if got := p.snapshot(t).Primary.Drifted; got != tc.want {
				t.Errorf("drifted: %t", got)
			}
		})
	}
}

func TestOthersPodsAreNoEndpoints(t *testing.T) {
	slice := endpoints("web-primary", "a", discoveryv1.EndpointConditions{}, discoveryv1.EndpointConditions{}, discoveryv1.EndpointConditions{})
	slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "web-primary-7d9c-x2x2x"}
	slice.Endpoints[1].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "admin-primary-7d9c-x2x2x"}
	p := newPlace(t, canary(), deployment(), slice)
	if n := p.world(t).PrimaryEndpoints; n != 2 { // the third names no pod
		t.Errorf("%d endpoints", n)
	}
}
