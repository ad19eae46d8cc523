package observe_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Somebody applies what Siskin has made: it is put right, and never without a word.
func TestWhoAppliesWhatSiskinMade(t *testing.T) {
	note := func(obj client.Object, key, value string) {
		a := obj.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		a[key] = value
		obj.SetAnnotations(a)
	}
	mine := svc("web-primary", nil)
	mine.Labels = map[string]string{siskinv1.CanaryLabel: "web"}
	for name, tt := range map[string]struct {
		reason string
		edit   func(primary client.Object, svc *corev1.Service)
		want   []string
	}{
		"nobody": {"there is nothing to tell", func(client.Object, *corev1.Service) {}, nil},
		"a clone": {"kubectl leaves what it applied", func(p client.Object, _ *corev1.Service) {
			note(p, corev1.LastAppliedConfigAnnotation, "{}")
		}, []string{"Deployment web-primary is made by Siskin", "applied by kubectl apply too"}},
		"a Service": {"the cache has noted who", func(_ client.Object, s *corev1.Service) {
			note(s, siskinv1.ClaimedAnnotation, "argocd-controller")
		}, []string{"Service web-primary is made by Siskin", "applied by argocd-controller too", "spec.service.name"}},
		"somebody's own": {"it is refused as such", func(_ client.Object, s *corev1.Service) {
			s.Labels = nil
			note(s, corev1.LastAppliedConfigAnnotation, "{}")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment()
			primary, s := clone("primary", "r1", d), mine.DeepCopy()
			tt.edit(primary, s)
			got := newPlace(t, canary(), d, snapshot(t, "r1", d), primary, s).world(t).Claimed()
			if (got == "") != (len(tt.want) == 0) {
				t.Errorf("%q: %s", got, tt.reason)
			}
			for _, part := range tt.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q does not say %q", got, part)
				}
			}
		})
	}
}
