package target_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func TestWhatCannotBeChangedInAClone(t *testing.T) {
	clone := func(obj client.Object) client.Object {
		out, err := target.Clone(canary(), "primary", "r1", target.From(obj), 1)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	other := deployment(func(d *appsv1.Deployment) {
		d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web", "tier": "front"}}
	})
	for name, tc := range map[string]struct {
		reason    string
		obj, have client.Object
		want      string
	}{
		"no clone":         {"nothing is there yet", deployment(), nil, ""},
		"the same":         {"the role is Siskin's", deployment(), clone(deployment()), ""},
		"another selector": {"the API server refuses it for ever", other, clone(deployment()), "spec.selector"},
	} {
		t.Run(name, func(t *testing.T) {
			got := target.Unchangeable(tc.obj, tc.have)
			if (got != nil) != (tc.want != "") || got != nil && !strings.Contains(got.Message, tc.want) {
				t.Errorf("%s: %v", tc.reason, got)
			}
		})
	}
}
