package service_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/router/service"
)

// What Apply refuses is known before anything is made.
func TestCheckRefusesWhatApplyWould(t *testing.T) {
	app := map[string]string{"app": "finch"}
	other := func(edit func(*corev1.Service)) *corev1.Service {
		svc := user("finch", app)
		edit(svc)
		return svc
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		edit    func(*service.In)
		field   string
	}{
		"nothing there":          {nil, func(*service.In) {}, ""},
		"one that fits":          {[]client.Object{user("finch", app)}, func(*service.In) {}, ""},
		"without a selector":     {[]client.Object{user("finch", nil)}, func(*service.In) {}, "spec.service.name"},
		"shared":                 {[]client.Object{user("finch", app), robin(app)}, func(*service.In) {}, "spec.service.name"},
		"another port":           {[]client.Object{other(func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })}, func(*service.In) {}, ""},
		"no port":                {nil, func(in *service.In) { in.Canary.Spec.Service.Port = 0 }, "spec.service.port"},
		"the primary's is taken": {[]client.Object{user("finch-primary", app)}, func(*service.In) {}, "spec.service.name"},
		"the canary's is taken":  {[]client.Object{user("finch-canary", app)}, func(*service.In) {}, "spec.service.name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.objects...)
			w.in.Serving = ""
			tc.edit(&w.in)
			err := w.applier.Check(t.Context(), w.in)
			if w.c.Writes() != 0 {
				t.Error("it writes")
			}
			_, applied := w.applier.Apply(t.Context(), w.in)
			if tc.field == "" {
				if err != nil || applied != nil {
					t.Errorf("%v, %v", err, applied)
				}
				return
			}
			wantField(t, err, tc.field)
			if applied == nil || applied.Error() != err.Error() {
				t.Errorf("Apply says %v, Check %v", applied, err)
			}
		})
	}
}
