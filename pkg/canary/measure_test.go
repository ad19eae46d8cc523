package canary_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

func templateOf(query, secret string) *siskinv1.MetricTemplate {
	t := &siskinv1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Name: "errors", Namespace: "shop"}}
	t.Spec.Provider = siskinv1.MetricProvider{Type: "prometheus", Address: "http://prometheus:9090"}
	t.Spec.Query = query
	if secret != "" {
		t.Spec.Provider.SecretRef = &siskinv1.SecretRef{Name: secret}
	}
	return t
}

// TestMetricsAreCheckedBeforeARollout : what cannot be measured shows at rest, keeps a rollout from beginning, and lets
// it begin when it is mended. No provider is asked for that.
func TestMetricsAreCheckedBeforeARollout(t *testing.T) {
	const reason, field = "AnalysisInvalid", "spec.analysis.metrics[0] (error-rate): "
	byTemplate := func(c *siskinv1.Canary) {
		m := &c.Spec.Analysis.Metrics[0]
		m.Query, m.TemplateRef = "", &siskinv1.NamespacedRef{Name: "errors"}
	}
	for name, tc := range map[string]struct {
		edit     func(*siskinv1.Canary)
		template *siskinv1.MetricTemplate
		says     string
		mend     func(*stage)
	}{
		"a template that does not exist": {
			edit: byTemplate, says: field + "MetricTemplate shop/errors does not exist",
			mend: func(s *stage) { s.create(templateOf("vector(1)", "")) },
		},
		"a template with a mistake": {
			edit: byTemplate, template: templateOf("{{ variables.x }}", ""),
			says: field + `variable "x" is not set: add it to templateVariables of the metric (set are: none)`,
			mend: func(s *stage) {
				s.edit(func(c *siskinv1.Canary) { c.Spec.Analysis.Metrics[0].TemplateVariables = map[string]string{"x": "1"} })
			},
		},
		"a Secret that does not exist": {
			edit: byTemplate, template: templateOf("vector(1)", "token"), says: field + "Secret shop/token does not exist",
			mend: func(s *stage) {
				s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token", Namespace: "shop"}, Data: map[string][]byte{"token": []byte("x")}})
				s.sleep(15 * time.Second) // nobody tells when a Secret comes
			},
		},
		"a query with a mistake": {
			edit: func(c *siskinv1.Canary) { c.Spec.Analysis.Metrics[0].Query = "{{ nothing }}" },
			says: field + `"nothing" in the query is not known`,
			mend: func(s *stage) { s.edit(func(c *siskinv1.Canary) { c.Spec.Analysis.Metrics[0].Query = "errors" }) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newCanary(tc.edit), func(s *stage) {
				if tc.template != nil {
					s.create(tc.template)
				}
				s.reach(siskinv1.PhaseInitialized)
				s.settled()
				wrong := func(when string) {
					t.Helper()
					st := s.canary().Status
					ready := meta.FindStatusCondition(st.Conditions, siskinv1.ConditionReady)
					if ready == nil || ready.Reason != reason || !strings.Contains(st.Message, tc.says) {
						t.Errorf("%s: %q, ready %+v; want %s, %q", when, st.Message, ready, reason, tc.says)
					}
				}
				wrong("at rest")
				if told := s.events.take(); strings.Count(reasons(told), reason) != 1 {
					t.Errorf("told %v", told)
				}
				s.image("web:2")
				s.settled()
				wrong("with a revision that waits")
				if c := s.canary().Status; c.Phase != siskinv1.PhaseInitialized {
					t.Errorf("it is %s", c.Phase)
				}
				if n := len(s.metrics.Queries()); n != 0 {
					t.Errorf("%d queries were asked", n)
				}
				tc.mend(s)
				s.until(siskinv1.PhaseSucceeded)
			})
		})
	}
}

// TestACheckOfMetricsCostsNothingAtRest : templates and Secrets are read once for each version of them.
func TestACheckOfMetricsCostsNothingAtRest(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) {
		c.Spec.Analysis.Metrics[0].Query, c.Spec.Analysis.Metrics[0].TemplateRef = "", &siskinv1.NamespacedRef{Name: "errors"}
	}), func(s *stage) {
		s.create(templateOf("vector(1)", "token"))
		s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token", Namespace: "shop"}, Data: map[string][]byte{"token": []byte("x")}})
		s.until(siskinv1.PhaseInitialized)
		secrets := func() int { return strings.Count(strings.Join(s.read, " "), "shop/token") }
		before, woken := secrets(), s.woken
		for range 5 {
			s.sleep(time.Hour)
			if res := s.pass(); res.RequeueAfter != 0 {
				t.Errorf("it is looked at again in %v", res.RequeueAfter)
			}
		}
		if n := secrets(); n != before || s.woken != woken || before == 0 {
			t.Errorf("%d reads of the Secret, %d before; woken %d times", n, before, s.woken-woken)
		}
	})
}

// settled makes passes until nothing is asked any more.
func (s *stage) settled() {
	s.t.Helper()
	for range 20 {
		s.kubelet()
		woken := s.woken
		if s.pass(); s.woken == woken {
			s.sleep(16 * time.Second) // texts alone are not written at once
			s.pass()
			return
		}
	}
}

func (s *stage) create(obj client.Object) {
	s.t.Helper()
	if err := s.api.Create(s.t.Context(), obj); err != nil {
		s.t.Fatal(err)
	}
}
