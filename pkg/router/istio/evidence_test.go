package istio_test

import (
	"strings"
	"testing"
	"time"

	analysis "istio.io/api/analysis/v1alpha1"
	meta "istio.io/api/meta/v1alpha1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/istio"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func fixed() *clocktesting.FakePassiveClock {
	return clocktesting.NewFakePassiveClock(time.Unix(1_000, 0))
}

// Istio tells little: what was written counts after a while, unless something is said against it.
func TestEvidence(t *testing.T) {
	refused := func(generation int64) *meta.IstioStatus {
		return &meta.IstioStatus{ObservedGeneration: generation, ValidationMessages: []*analysis.AnalysisMessageBase{{
			Level: analysis.AnalysisMessageBase_ERROR, Type: &analysis.AnalysisMessageBase_Type{Code: "IST0101", Name: "ReferencedResourceNotFound"},
			DocumentationUrl: "https://istio.io/ist0101",
		}}}
	}
	condition := func(status string, generation int64) *meta.IstioStatus {
		return &meta.IstioStatus{Conditions: []*meta.IstioCondition{{Type: "Reconciled", Status: status, ObservedGeneration: generation, Message: "1 of 2 proxies"}}}
	}
	for name, c := range map[string]struct {
		status *meta.IstioStatus
		after  time.Duration
		want   router.Evidence
		reason string
	}{
		"at once":                            {nil, 0, router.EvidenceWritten, istio.ReasonSettling},
		"soon":                               {nil, istio.Settle - 1, router.EvidenceWritten, istio.ReasonSettling},
		"in time":                            {nil, istio.Settle, router.EvidenceAccepted, ""},
		"refused":                            {refused(1), time.Hour, router.EvidenceWritten, "IST0101"},
		"refused, of which generation?":      {refused(0), time.Hour, router.EvidenceWritten, "IST0101"},
		"an older generation was refused":    {refused(7), istio.Settle, router.EvidenceAccepted, ""},
		"all proxies have it":                {condition("True", 1), 0, router.EvidenceAccepted, ""},
		"not all have it":                    {condition("False", 1), time.Hour, router.EvidenceWritten, istio.ReasonNotReconciled},
		"a condition that nobody cares for":  {condition("False", 7), istio.Settle, router.EvidenceAccepted, ""},
		"a condition of an older generation": {condition("True", 7), 0, router.EvidenceWritten, istio.ReasonSettling},
	} {
		t.Run(name, func(t *testing.T) {
			cl, clk := istiotest.NewClient(t), fixed()
			r := istio.New(cl, cl, clk)
			in := routertest.Intent(finch())
			in.Split = router.Split{Primary: 90, Canary: 10}
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			w := world{routertest.Harness{Client: cl}, r, in}
			if c.status != nil {
				vs := w.vs(t)
				c.status.DeepCopyInto(&vs.Status)
				if err := cl.Status().Update(t.Context(), vs); err != nil {
					t.Fatal(err)
				}
			}
			clk.SetTime(clk.Now().Add(c.after))
			obs, err := r.Observe(t.Context(), in)
			if err != nil || obs.Evidence != c.want || obs.Reason != c.reason || obs.Rejected || !obs.Known || obs.MetricsKind != meter.Istio {
				t.Errorf("%+v %v", obs, err)
			}
			wait := time.Duration(0)
			if c.reason == istio.ReasonSettling {
				wait = istio.Settle - c.after
			}
			if obs.Again != wait {
				t.Errorf("asked again after %s, not %s", obs.Again, wait)
			}
			if c.reason == "IST0101" && !strings.Contains(obs.Message, "https://istio.io/ist0101") {
				t.Errorf("message %q", obs.Message)
			}
		})
	}
}

// A split that was written is settled once: neither a second Apply nor a label of somebody else begins the wait anew.
func TestSettlingBeginsWithTheWrite(t *testing.T) {
	w := newWorld(t, finch())
	w.apply(t)
	if err := w.Accept(t.Context(), w.in); err != nil {
		t.Fatal(err)
	}
	w.apply(t)
	vs := w.vs(t)
	vs.Labels["example.org/team"] = "finches"
	if err := w.Client.Update(t.Context(), vs); err != nil {
		t.Fatal(err)
	}
	w.apply(t)
	if obs, err := w.router.Observe(t.Context(), w.in); err != nil || obs.Evidence != router.EvidenceAccepted {
		t.Errorf("%+v %v", obs, err)
	}
}
