package istio_test

import (
	"context"
	"strings"
	"testing"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/istio"
	"github.com/siskin-dev/siskin/pkg/router/istio/istiotest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

const roundRobin = `{"loadBalancer":{"simple":"ROUND_ROBIN"},"connectionPool":{"http":{"http2MaxRequests":7}}}`

func withPolicy(raw string) *siskinv1.Canary {
	c := finch()
	c.Spec.Service.TrafficPolicy = policy(raw)
	c.Spec.Service.Canary = &siskinv1.Metadata{Labels: map[string]string{"team": "birds"}}
	return c
}

func (w world) rules(t *testing.T) map[string]*istiov1.DestinationRule {
	t.Helper()
	var all istiov1.DestinationRuleList
	if err := w.Client.List(t.Context(), &all, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	out := map[string]*istiov1.DestinationRule{}
	for _, r := range all.Items {
		out[r.Name] = r
	}
	return out
}

// A policy is there before a version is led to, goes with the spec, and is the apex's when the Canary is gone.
func TestTrafficPolicy(t *testing.T) {
	var order []string
	owner := withPolicy(roundRobin)
	h := istiotest.New(t, istiotest.NewClient(t), owner)
	c := interceptor.NewClient(h.Client.(client.WithWatch), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			order = append(order, strings.TrimPrefix(strings.ToLower(kind(obj)), "*v1.")+" "+obj.GetName())
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			order = append(order, "no "+strings.ToLower(kind(obj))+" "+obj.GetName())
			return c.Delete(ctx, obj, opts...)
		},
	})
	w := world{h, h.New(c, c), h.Intent}
	w.in.Split = router.Split{Primary: 100}
	w.apply(t)
	rules := w.rules(t)
	for name, r := range rules {
		if r.Spec.Host != name || r.Spec.TrafficPolicy.GetConnectionPool().GetHttp().GetHttp2MaxRequests() != 7 || !metav1.IsControlledBy(r, owner) {
			t.Errorf("%s: %v", name, r)
		}
	}
	if len(rules) != 2 || rules["finch-primary"] == nil || rules["finch-canary"] == nil || rules["finch-canary"].Labels["team"] != "birds" {
		t.Fatalf("%v", rules)
	}
	owner.Spec.Service.TrafficPolicy = policy(strings.ReplaceAll(roundRobin, "7", "8"))
	w.apply(t)
	if n := w.rules(t)["finch-primary"].Spec.TrafficPolicy.GetConnectionPool().GetHttp().GetHttp2MaxRequests(); n != 8 {
		t.Errorf("the edit: %d", n)
	}
	w.in.Keep = true
	for range 2 {
		if err := w.router.Release(t.Context(), w.in); err != nil {
			t.Fatal(err)
		}
	}
	rules = w.rules(t)
	if r := rules["finch"]; len(rules) != 1 || r == nil || r.Spec.Host != "finch" || len(r.OwnerReferences) != 0 {
		t.Errorf("left: %v", rules)
	}
	want := "destinationrule finch-primary, destinationrule finch-canary, virtualservice finch, " +
		"destinationrule finch-primary, destinationrule finch-canary, " +
		"destinationrule finch, virtualservice finch, no destinationrule finch-primary, no destinationrule finch-canary"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("written in the order\n%s\nnot\n%s", got, want)
	}
	// A Canary of that name takes it back, and has one for each version again.
	w.in.Keep = false
	w.apply(t)
	if rules = w.rules(t); len(rules) != 2 || rules["finch"] != nil {
		t.Errorf("taken back: %v", rules)
	}
	owner.Spec.Service.TrafficPolicy = nil
	w.apply(t)
	if rules = w.rules(t); len(rules) != 0 {
		t.Errorf("without a policy: %v", rules)
	}
}

func kind(obj client.Object) string {
	switch obj.(type) {
	case *istiov1.VirtualService:
		return "VirtualService"
	case *istiov1.DestinationRule:
		return "DestinationRule"
	}
	return "other"
}

// A DestinationRule of somebody else is nobody's to write; the split moves all the same.
func TestForeignDestinationRule(t *testing.T) {
	mine := &istiov1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch-primary"}}
	mine.Spec.Host = "finch-primary"
	w := newWorld(t, withPolicy(roundRobin))
	if err := w.Client.Create(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	w.in.Split = router.Split{Primary: 60, Canary: 40}
	_, err := w.router.Apply(t.Context(), w.in)
	if err == nil || !strings.Contains(err.Error(), "spec.service.trafficPolicy") || !strings.Contains(err.Error(), "delete the rule") {
		t.Errorf("error %v", err)
	}
	if obs, err := w.router.Observe(t.Context(), w.in); err != nil || obs.Current != w.in.Split {
		t.Errorf("%+v %v", obs, err)
	}
	if err := w.router.Release(t.Context(), w.in); err != nil {
		t.Fatal(err)
	}
	if rules := w.rules(t); len(rules) != 1 || rules["finch-primary"].Spec.TrafficPolicy != nil {
		t.Errorf("%v", rules)
	}
}

// A generated VirtualService that clients still use leads to the apex, by the rules that it had, and is nobody's; a Canary of that name
// takes it back.
func TestReleaseLeavesTheApex(t *testing.T) {
	for name, edit := range map[string]func(vs *istiov1.VirtualService){
		"as it was":              func(*istiov1.VirtualService) {},
		"its record taken away":  func(vs *istiov1.VirtualService) { delete(vs.Annotations, siskinv1.RulesAnnotation) },
		"its record is nonsense": func(vs *istiov1.VirtualService) { vs.Annotations[siskinv1.RulesAnnotation] = "{" },
	} {
		t.Run(name, func(t *testing.T) {
			owner := finch()
			owner.Spec.Service.Timeout = "15s"
			owner.Spec.Service.Match = []siskinv1.RequestMatch{{URI: &siskinv1.StringMatch{Prefix: "/birds"}}}
			owner.Spec.Service.Gateways = nil
			owner.Spec.Analysis.SessionAffinity = &routertest.Affinity().SessionAffinity
			w := newWorld(t, owner)
			w.in.Split, w.in.Affinity, w.in.Audience = router.Split{Primary: 50, Canary: 50, Audience: true, Mirror: 9}, routertest.Affinity(), routertest.Audience()[:1]
			w.apply(t)
			vs := w.vs(t)
			edit(vs)
			if err := w.Client.Update(t.Context(), vs); err != nil {
				t.Fatal(err)
			}
			w.in.Keep = true
			for range 2 {
				if err := w.router.Release(t.Context(), w.in); err != nil {
					t.Fatal(err)
				}
			}
			vs = w.vs(t)
			if len(vs.OwnerReferences) != 0 || len(vs.Annotations) != 0 {
				t.Errorf("traces: %v %v", vs.OwnerReferences, vs.Annotations)
			}
			golden(t, "released", []byte(istiotest.JSON(t, vs)))
			if obs, err := w.router.Observe(t.Context(), w.in); err != nil || obs.Known {
				t.Errorf("it states a split: %+v %v", obs, err)
			}
			w.in.Keep = false
			w.apply(t)
		})
	}
}

// An earlier Canary's objects are waited for, not written.
func TestLeftovers(t *testing.T) {
	w := newWorld(t, withPolicy(roundRobin))
	w.apply(t)
	again := w.in
	again.Owner = again.Owner.DeepCopy()
	again.Owner.UID = "another"
	_, err := w.router.Apply(t.Context(), again)
	if err == nil || !strings.Contains(err.Error(), "to be collected") {
		t.Errorf("error %v", err)
	}
	if obs, err := w.router.Observe(t.Context(), again); err != nil || obs.Known || obs.Reason != istio.ReasonForeignRoute {
		t.Errorf("%+v %v", obs, err)
	}
}
