package service_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

func robin(labels map[string]string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "robin"}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()}
	return d
}

func TestGeneratedServicesSelectTheirOwnPods(t *testing.T) {
	own := map[string]string{siskinv1.CloneLabel: "finch"}
	w := newWorld(t)
	w.in.Own = service.Own{Primary: true}
	w.apply()
	w.selector("finch-primary", role(own, "primary"))
	w.selector("finch-canary", role(w.in.Selector, "canary"))
	w.selector("finch", role(w.in.Selector, "primary"))
	w.in.Own = service.Own{Primary: true, Canary: true, Apex: true}
	w.apply()
	w.selector("finch-canary", role(own, "canary"))
	w.selector("finch", role(own, "primary"))
	if _, err := w.applier.Serve(t.Context(), routertest.Intent(w.in.Canary), "canary"); err != nil {
		t.Fatal(err)
	}
	w.selector("finch", role(own, "canary"))
	w.in.Serving = "canary"
	w.c.Writes()
	if w.apply(); w.c.Writes() != 0 {
		t.Error("it does not settle")
	}
	w.in.Keep = true
	w.release()
	w.selector("finch", w.in.Selector)
}

func TestAnApexThatIsNewLeadsToNoStrangers(t *testing.T) {
	own := map[string]string{siskinv1.CloneLabel: "finch"}
	shared := map[string]string{"app": "finch", "part": "admin"}
	for name, tc := range map[string]struct {
		objects  []client.Object
		selector map[string]string
		want     map[string]string
	}{
		"alone":                   {nil, map[string]string{"app": "finch"}, map[string]string{"app": "finch"}},
		"an app that shares":      {[]client.Object{robin(shared)}, map[string]string{"app": "finch"}, own},
		"an app that has its own": {[]client.Object{robin(map[string]string{"app": "robin"})}, map[string]string{"app": "finch"}, map[string]string{"app": "finch"}},
		"nothing to select by":    {nil, nil, own},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.objects...)
			w.in.Serving, w.in.Selector, w.in.Own = "", tc.selector, service.Own{Primary: true, Canary: true, Apex: true}
			w.apply()
			w.selector("finch", tc.want)
			w.c.Writes()
			if w.apply(); w.c.Writes() != 0 {
				t.Error("it does not settle")
			}
			w.in.Serving = "primary"
			w.apply()
			w.selector("finch", role(own, "primary"))
		})
	}
}
