package gatewayapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi/gatewayapitest"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// rulesOf reads rules as a user writes them.
func rulesOf(t *testing.T, text string) []any {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	if err := utiljson.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Where a rule leads to the apex, both versions share what the apex had; nothing else changes.
func TestMerge(t *testing.T) {
	for name, tt := range map[string]struct {
		split      router.Split
		rule, want string
	}{
		"alone": {
			router.Split{Primary: 90, Canary: 10},
			`{backendRefs: [{name: finch, port: 80}]}`,
			`{backendRefs: [{name: finch-primary, port: 80, weight: 90}, {name: finch-canary, port: 80, weight: 10}]}`,
		},
		"beside another backend": {
			router.Split{Primary: 90, Canary: 10},
			`{backendRefs: [{name: finch, port: 80, weight: 30}, {name: legacy, port: 80, weight: 10}]}`,
			`{backendRefs: [{name: finch-primary, port: 80, weight: 27}, {name: finch-canary, port: 80, weight: 3}, {name: legacy, port: 80, weight: 10}]}`,
		},
		"in shares that are no whole numbers": {
			router.Split{Primary: 90, Canary: 10},
			`{backendRefs: [{name: legacy, port: 80}, {name: finch, port: 80, weight: 3}]}`,
			`{backendRefs: [{name: legacy, port: 80, weight: 10}, {name: finch-primary, port: 80, weight: 27}, {name: finch-canary, port: 80, weight: 3}]}`,
		},
		"at rest": {
			router.Split{Primary: 100},
			`{backendRefs: [{name: legacy, port: 80}, {name: finch, port: 80, weight: 3}]}`,
			`{backendRefs: [{name: legacy, port: 80}, {name: finch-primary, port: 80, weight: 3}, {name: finch-canary, port: 80, weight: 0}]}`,
		},
		"the largest weights": {
			router.Split{Primary: 99, Canary: 1},
			`{backendRefs: [{name: finch, port: 80, weight: 1000000}, {name: legacy, port: 80, weight: 1}]}`,
			`{backendRefs: [{name: finch-primary, port: 80, weight: 990000}, {name: finch-canary, port: 80, weight: 10000}, {name: legacy, port: 80, weight: 1}]}`,
		},
		"beyond the largest weights": {
			router.Split{Primary: 99, Canary: 1},
			`{backendRefs: [{name: finch, port: 80, weight: 999999}, {name: legacy, port: 80, weight: 1}]}`,
			`{backendRefs: [{name: finch-primary, port: 80, weight: 1000000}, {name: finch-canary, port: 80, weight: 10101}, {name: legacy, port: 80, weight: 1}]}`,
		},
		"filters and what is not known": {
			router.Split{Primary: 50, Canary: 50},
			`{name: main, fancy: {a: 1}, matches: [{path: {type: PathPrefix, value: /a}, novel: x}], retry: {attempts: 2, codes: [500]}, timeouts: {request: 5s},
			  filters: [{type: Novel, novel: {b: [1, 2]}}], backendRefs: [{name: finch, port: 80, novel: 7, filters: [{type: Other, other: {c: d}}]}]}`,
			`{name: main, fancy: {a: 1}, matches: [{path: {type: PathPrefix, value: /a}, novel: x}], retry: {attempts: 2, codes: [500]}, timeouts: {request: 5s},
			  filters: [{type: Novel, novel: {b: [1, 2]}}], backendRefs: [
			  {name: finch-primary, port: 80, novel: 7, filters: [{type: Other, other: {c: d}}], weight: 50},
			  {name: finch-canary, port: 80, novel: 7, filters: [{type: Other, other: {c: d}}], weight: 50}]}`,
		},
		"another port":      {router.Split{Primary: 50, Canary: 50}, `{backendRefs: [{name: finch, port: 81}]}`, ""},
		"another kind":      {router.Split{Primary: 50, Canary: 50}, `{backendRefs: [{name: finch, port: 80, kind: Pool}]}`, ""},
		"another group":     {router.Split{Primary: 50, Canary: 50}, `{backendRefs: [{name: finch, port: 80, group: example.org}]}`, ""},
		"another namespace": {router.Split{Primary: 50, Canary: 50}, `{backendRefs: [{name: finch, port: 80, namespace: elsewhere}]}`, ""},
		"turned off":        {router.Split{Primary: 50, Canary: 50}, `{backendRefs: [{name: finch, port: 80, weight: 0}, {name: a, port: 80}]}`, ""},
		"no backend":        {router.Split{Primary: 50, Canary: 50}, `{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}`, ""},
		"with its namespace": {
			router.Split{Canary: 100},
			`{backendRefs: [{name: finch, port: 80, namespace: aviary, group: "", kind: Service}]}`,
			`{backendRefs: [{name: finch-primary, port: 80, namespace: aviary, group: "", kind: Service, weight: 0},
			  {name: finch-canary, port: 80, namespace: aviary, group: "", kind: Service, weight: 100}]}`,
		},
		"mirrored": {
			router.Split{Primary: 100, Mirror: 30},
			`{filters: [{type: Novel}], backendRefs: [{name: finch, port: 80}]}`,
			`{filters: [{type: Novel}, {type: RequestMirror, requestMirror: {percent: 30, backendRef: {group: "", kind: Service, name: finch-canary, port: 80}}}],
			  backendRefs: [{name: finch-primary, port: 80, weight: 100}, {name: finch-canary, port: 80, weight: 0}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.rule
			}
			in := intent(nil)
			in.Split = tt.split
			before := rulesOf(t, "["+tt.rule+"]")
			got := gatewayapi.Merged(t, before, in)
			if diff := cmp.Diff(rulesOf(t, "["+tt.want+"]"), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if diff := cmp.Diff(rulesOf(t, "["+tt.rule+"]"), before); diff != "" {
				t.Errorf("the user's rules were changed: %s", diff)
			}
		})
	}
}

// What selects requests is a copy of the user's rule with one condition more, before it.
func TestMergeBesideTheUsersRule(t *testing.T) {
	const rules = `[{name: main, retry: {attempts: 2}, matches: [{path: {type: PathPrefix, value: /a}, headers: [{type: Exact, name: X-Old, value: "1"}]}],
	  backendRefs: [{name: finch, port: 80, weight: 2}, {name: legacy, port: 80}]}]`
	in := intent(nil)
	in.Split = router.Split{Primary: 100, Audience: true}
	in.Audience = []siskinv1.RequestMatch{{Headers: map[string]siskinv1.StringMatch{"X-Tester": exact("yes")}}}
	got := gatewayapi.Merged(t, rulesOf(t, rules), in)
	want := rulesOf(t, `[{retry: {attempts: 2}, matches: [{path: {type: PathPrefix, value: /a},
	    headers: [{type: Exact, name: X-Old, value: "1"}, {type: Exact, name: X-Tester, value: "yes"}]}],
	    backendRefs: [{name: finch-canary, port: 80, weight: 2}, {name: legacy, port: 80}]},
	  {name: main, retry: {attempts: 2}, matches: [{path: {type: PathPrefix, value: /a}, headers: [{type: Exact, name: X-Old, value: "1"}]}],
	    backendRefs: [{name: finch-primary, port: 80, weight: 2}, {name: finch-canary, port: 80, weight: 0}, {name: legacy, port: 80}]}]`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// An edit in what Siskin made of a route is an edit of what its author wants.
func TestEditsOfTheMergedRules(t *testing.T) {
	const rules = `[{matches: [{path: {value: /a}}], backendRefs: [{name: other, port: 80}]},
	  {backendRefs: [{name: finch, port: 80, weight: 3}, {name: legacy, port: 80, weight: 1}]}]`
	for name, tt := range map[string]struct {
		edit func(live []any) []any
		want string
	}{
		"none": {func(live []any) []any { return live }, rules},
		"a filter": {
			func(live []any) []any {
				live[len(live)-1].(map[string]any)["filters"] = []any{map[string]any{"type": "Novel"}}
				return live
			},
			`[{matches: [{path: {value: /a}}], backendRefs: [{name: other, port: 80}]},
			  {filters: [{type: Novel}], backendRefs: [{name: finch, port: 80, weight: 3}, {name: legacy, port: 80, weight: 1}]}]`,
		},
		"a rule goes": {
			func(live []any) []any { return live[1:] },
			`[{backendRefs: [{name: finch, port: 80, weight: 3}, {name: legacy, port: 80, weight: 1}]}]`,
		},
		"a rule that was added is edited": {
			func(live []any) []any {
				live[1].(map[string]any)["filters"] = []any{map[string]any{"type": "Novel"}}
				return live
			}, rules,
		},
		"all is applied anew": {
			func([]any) []any { return rulesOf(t, `[{name: new, backendRefs: [{name: finch, port: 80}]}]`) },
			`[{name: new, backendRefs: [{name: finch, port: 80}]}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := intent(nil)
			in.Split = router.Split{Primary: 80, Canary: 20, Audience: true, Mirror: 10}
			in.Audience, in.Affinity = routertest.Audience()[:1], routertest.Affinity()
			in.Owner.Spec.Analysis.SessionAffinity = &in.Affinity.SessionAffinity
			live := gatewayapi.Merged(t, rulesOf(t, rules), in)
			notes := gatewayapi.Notes(t, rulesOf(t, rules), in)
			if diff := cmp.Diff(rulesOf(t, tt.want), gatewayapi.Wish(tt.edit(live), notes, in)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// ways are how users write a route over the one that is there.
func ways(t *testing.T) map[string]func(c client.Client, route *gatewayv1.HTTPRoute) {
	t.Helper()
	manifest := func(route *gatewayv1.HTTPRoute) map[string]any {
		raw, err := json.Marshal(route)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatal(err)
		}
		delete(out, "status")
		out["apiVersion"], out["kind"] = "gateway.networking.k8s.io/v1", "HTTPRoute"
		return out
	}
	patch := func(c client.Client, kind types.PatchType, body any, opts ...client.PatchOption) {
		t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		live := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "finch"}}
		if err := c.Patch(t.Context(), live, client.RawPatch(kind, raw), opts...); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]func(c client.Client, route *gatewayv1.HTTPRoute){
		"kubectl apply": func(c client.Client, route *gatewayv1.HTTPRoute) {
			body := manifest(route)
			last, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			patch(c, types.MergePatchType, map[string]any{
				"metadata": map[string]any{"labels": route.Labels, "annotations": map[string]any{corev1.LastAppliedConfigAnnotation: string(last)}},
				"spec":     body["spec"],
			}, client.FieldOwner("kubectl-client-side-apply"))
		},
		"server-side apply": func(c client.Client, route *gatewayv1.HTTPRoute) {
			patch(c, types.ApplyPatchType, manifest(route), client.FieldOwner("flux"), client.ForceOwnership)
		},
		"replace": func(c client.Client, route *gatewayv1.HTTPRoute) {
			route = route.DeepCopy()
			route.ResourceVersion, route.UID = get(t, c).ResourceVersion, get(t, c).UID
			if err := c.Update(t.Context(), route, client.FieldOwner("kubectl-replace")); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// users is the user's route, with one host more, and with the API's defaults: the fake API server writes those as
// another manager.
func users(t *testing.T, host string) *gatewayv1.HTTPRoute {
	t.Helper()
	c := gatewayapitest.NewClient(t)
	route := gatewayapitest.UsersRoute(namespace)
	route.Spec.Hostnames = append(route.Spec.Hostnames, gatewayv1.Hostname(host))
	if err := c.Create(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	route = get(t, c)
	route.ObjectMeta = gatewayapitest.UsersRoute(namespace).ObjectMeta
	return route
}

func applied(t *testing.T, r *gatewayapi.Router, in router.Intent) router.Receipt {
	t.Helper()
	receipt, err := r.Apply(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// weights are those of the rule that splits.
func weights(route *gatewayv1.HTTPRoute) map[string]int32 {
	out := map[string]int32{}
	for _, rule := range route.Spec.Rules {
		for _, ref := range rule.BackendRefs {
			if ref.Name != "admin" {
				out[string(ref.Name)] += *ref.Weight
			}
		}
	}
	return out
}

// A route that its user applies over the generated one is the user's from then on, whichever way it is applied; what is
// applied again is taken as it is, the split is put into it, and it is what is given back at the end.
func TestRouteThatComesLater(t *testing.T) {
	for way, write := range ways(t) {
		t.Run(way, func(t *testing.T) {
			c := gatewayapitest.NewClient(t)
			r, in := newRouter(c), intent(nil)
			applied(t, r, in)
			write(c, users(t, "a.example.org"))
			if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceNone {
				t.Fatalf("the user's route is taken for Siskin's: %+v %v", obs, err)
			}
			receipt := applied(t, r, in)
			if !receipt.Adopted || receipt.Foreign || !receipt.Changed {
				t.Errorf("receipt %+v", receipt)
			}
			split := map[string]int32{"finch-primary": 90, "finch-canary": 10}
			route := get(t, c)
			if diff := cmp.Diff(split, weights(route)); diff != "" || len(route.OwnerReferences) > 0 || route.Labels[siskinv1.CanaryLabel] != "" ||
				len(route.Spec.Hostnames) != 2 {
				t.Errorf("adopted: %s %+v", diff, route)
			}
			if receipt = applied(t, r, in); receipt.Changed {
				t.Errorf("the second Apply wrote: %+v", receipt)
			}
			later := users(t, "b.example.org")
			later.Spec.Rules[1].Timeouts.Request = new(gatewayv1.Duration("9s"))
			if way == "replace" {
				later.Annotations = get(t, c).Annotations // kubectl replace of what was read
			}
			for _, again := range []*gatewayv1.HTTPRoute{later, later} {
				write(c, again)
				if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceNone || obs.Current != (router.Split{Primary: 100}) {
					t.Errorf("applied again: %+v %v", obs, err)
				}
				if receipt = applied(t, r, in); !receipt.Adopted || receipt.Foreign || receipt.By == "" {
					t.Errorf("applied again: %+v", receipt)
				}
				if diff := cmp.Diff(split, weights(get(t, c))); diff != "" {
					t.Error(diff)
				}
			}
			if err := r.Release(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			back := get(t, c)
			if diff := cmp.Diff(later.Spec, back.Spec); diff != "" || len(back.OwnerReferences) > 0 {
				t.Errorf("given back: -want +got\n%s", diff)
			}
			for key := range back.Annotations {
				if strings.HasPrefix(key, "siskin.dev/") {
					t.Errorf("it has still %s", key)
				}
			}
		})
	}
}

// What only Siskin had asked for in the generated route goes with that.
func TestNothingOfTheGeneratedRouteStays(t *testing.T) {
	for way, write := range ways(t) {
		t.Run(way, func(t *testing.T) {
			c := gatewayapitest.NewClient(t)
			r, in := newRouter(c), intent(nil)
			applied(t, r, in)
			theirs := users(t, "a.example.org")
			theirs.Spec.Hostnames = nil // all of them
			write(c, theirs)
			applied(t, r, in)
			if route := get(t, c); len(route.Spec.Hostnames) > 0 || len(route.Spec.ParentRefs) != 1 {
				t.Errorf("hosts %v, parents %v", route.Spec.Hostnames, route.Spec.ParentRefs)
			}
		})
	}
}

// routes are those of the namespace, by name.
func routes(t *testing.T, c client.Client) map[string]*gatewayv1.HTTPRoute {
	t.Helper()
	var list gatewayv1.HTTPRouteList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]*gatewayv1.HTTPRoute{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out
}

func accept(t *testing.T, c client.Client, name string) {
	t.Helper()
	route := routes(t, c)[name]
	route.Status.Parents = gatewayapitest.Accepted(route)
	if err := c.Status().Update(t.Context(), route); err != nil {
		t.Fatal(err)
	}
}

// A route that is deleted while it is adopted is generated again, and at each moment one that a gateway has taken
// carries the split, also if that moves meanwhile.
func TestAdoptedRouteGoesAgain(t *testing.T) {
	c := gatewayapitest.NewClient(t, gatewayapitest.UsersRoute(namespace))
	r, in := newRouter(c), intent(nil)
	if receipt := applied(t, r, in); !receipt.Adopted || receipt.Note != "" {
		t.Errorf("receipt %+v", receipt)
	}
	accept(t, c, "finch")
	if err := c.Delete(t.Context(), get(t, c)); err != nil {
		t.Fatal(err)
	}
	there := func(step string, names ...string) {
		t.Helper()
		all := routes(t, c)
		if len(all) != len(names) {
			t.Fatalf("%s: %v", step, all)
		}
		for _, name := range names {
			want := map[string]int32{"finch-primary": in.Split.Primary, "finch-canary": in.Split.Canary}
			if diff := cmp.Diff(want, weights(all[name])); diff != "" {
				t.Errorf("%s: %s: %s", step, name, diff)
			}
		}
		if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence >= router.EvidenceAccepted {
			t.Errorf("%s: %+v %v", step, obs, err)
		}
	}
	in.Split = router.Split{Primary: 80, Canary: 20}
	applied(t, r, in)
	there("the user's serves on", "finch", "finch-bridge")
	applied(t, r, in)
	there("nobody has taken the bridge yet", "finch", "finch-bridge")
	if obs, err := r.Observe(t.Context(), in); err != nil || !obs.Known || obs.Reason != gatewayapi.ReasonRouteDeleted {
		t.Errorf("while it waits: %+v %v", obs, err)
	}
	accept(t, c, "finch-bridge")
	applied(t, r, in)
	there("the user's is gone", "finch-bridge")
	applied(t, r, in)
	there("the generated one is new", "finch", "finch-bridge")
	in.Split = router.Split{Primary: 100}
	applied(t, r, in)
	there("the split moves", "finch", "finch-bridge")
	accept(t, c, "finch")
	there("the generated one is taken", "finch", "finch-bridge")
	applied(t, r, in)
	if all := routes(t, c); len(all) != 1 || !metav1.IsControlledBy(all["finch"], in.Owner) {
		t.Errorf("at the end: %v", all)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceAccepted {
		t.Errorf("at the end: %+v %v", obs, err)
	}
}

// gatewayIntent is what is known of a Canary that is gone.
func gatewayIntent(in router.Intent) router.Intent {
	in.Owner = &siskinv1.Canary{ObjectMeta: in.Owner.ObjectMeta}
	in.Apex, in.Port, in.Split = "another", 0, router.Split{Primary: 100}
	return in
}

// What keeps an adopted route from going must itself not stay.
func TestNothingKeepsARouteForEver(t *testing.T) {
	held := func(t *testing.T, edit func(*siskinv1.CanaryService)) (client.Client, *clocktesting.FakePassiveClock, *gatewayapi.Router, router.Intent) {
		t.Helper()
		c := gatewayapitest.NewClient(t, gatewayapitest.UsersRoute(namespace))
		clk := clocktesting.NewFakePassiveClock(time.Now())
		r, in := gatewayapi.New(c, c, clk), intent(edit)
		applied(t, r, in)
		return c, clk, r, in
	}
	remove := func(t *testing.T, c client.Client) {
		t.Helper()
		if err := c.Delete(t.Context(), get(t, c)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("nothing can be generated", func(t *testing.T) {
		c, _, _, _ := held(t, func(s *siskinv1.CanaryService) { s.GatewayRefs = nil })
		if f := get(t, c).Finalizers; len(f) > 0 {
			t.Errorf("finalizers %v", f)
		}
	})
	t.Run("nothing can be generated any more", func(t *testing.T) {
		c, _, r, in := held(t, nil)
		remove(t, c)
		in.Owner.Spec.Service.GatewayRefs = nil
		if _, err := r.Apply(t.Context(), in); err != nil || len(routes(t, c)) > 0 {
			t.Errorf("%v %v", err, routes(t, c))
		}
	})
	t.Run("no gateway takes the bridge", func(t *testing.T) {
		c, clk, r, in := held(t, nil)
		remove(t, c)
		applied(t, r, in)
		clk.SetTime(time.Now().Add(31 * time.Second))
		applied(t, r, in)
		if all := routes(t, c); all["finch"] != nil || all["finch-bridge"] == nil {
			t.Errorf("%v", all)
		}
	})
	t.Run("the name of the bridge is taken", func(t *testing.T) {
		c, _, r, in := held(t, nil)
		other := gatewayapitest.UsersRoute(namespace)
		other.Name = "finch-bridge"
		if err := c.Create(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		remove(t, c)
		applied(t, r, in)
		applied(t, r, in)
		if all := routes(t, c); all["finch"] == nil || !metav1.IsControlledBy(all["finch"], in.Owner) || len(all["finch-bridge"].OwnerReferences) > 0 {
			t.Errorf("%v", all)
		}
	})
	t.Run("it is given back", func(t *testing.T) {
		c, _, r, in := held(t, nil)
		if err := r.Release(t.Context(), in); err != nil || len(get(t, c).Finalizers) > 0 {
			t.Errorf("%v %v", err, get(t, c).Finalizers)
		}
	})
	t.Run("it is given back while it goes", func(t *testing.T) {
		c, _, r, in := held(t, nil)
		remove(t, c)
		applied(t, r, in)
		if err := r.Release(t.Context(), in); err != nil || len(routes(t, c)) > 0 {
			t.Errorf("%v %v", err, routes(t, c))
		}
	})
	t.Run("its Canary is gone without a word", func(t *testing.T) {
		c, _, r, in := held(t, nil)
		if err := r.GiveBack(t.Context(), gatewayIntent(in)); err != nil {
			t.Fatal(err)
		}
		route := get(t, c)
		if diff := cmp.Diff(map[string]int32{"finch": 1}, weights(route)); diff != "" || len(route.Finalizers)+len(route.Annotations) > 0 {
			t.Errorf("%s %+v", diff, route.ObjectMeta)
		}
	})
	t.Run("it is orphaned", func(t *testing.T) {
		c, _, r, in := held(t, nil)
		if err := r.Orphan(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		route := get(t, c)
		if diff := cmp.Diff(map[string]int32{"finch-primary": 90, "finch-canary": 10}, weights(route)); diff != "" || len(route.Finalizers) > 0 {
			t.Errorf("%s %v", diff, route.Finalizers)
		}
	})
}

// What of the Canary does not count is told when the route is adopted, and it needs none of it.
func TestWhatTheRouteSays(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*siskinv1.CanaryService)
		note string
	}{
		"nothing":      {func(s *siskinv1.CanaryService) { s.GatewayRefs, s.Hosts = nil, nil }, ""},
		"the same":     {func(*siskinv1.CanaryService) {}, ""},
		"another host": {func(s *siskinv1.CanaryService) { s.Hosts = []string{"other.example.org"} }, "spec.service.hosts of the Canary does not count"},
		"much":         {func(s *siskinv1.CanaryService) { s.GatewayRefs[0].Name, s.Timeout = "other", "5s" }, "spec.service.gatewayRefs, spec.service.timeout of the Canary do not"},
		"its own match": {func(s *siskinv1.CanaryService) {
			s.Match = match(func(m *siskinv1.RequestMatch) { m.URI = new(prefix("/x")) })
		}, "spec.service.match"},
	} {
		t.Run(name, func(t *testing.T) {
			c := gatewayapitest.NewClient(t, gatewayapitest.UsersRoute(namespace))
			r, in := newRouter(c), intent(tt.edit)
			if err := r.Validate(in); err != nil {
				t.Fatal(err)
			}
			if receipt := applied(t, r, in); !receipt.Adopted || !strings.Contains(receipt.Note, tt.note) || tt.note == "" && receipt.Note != "" {
				t.Errorf("receipt %+v", receipt)
			}
		})
	}
}

// What may not be adopted is refused before it is touched; once it is adopted, that is told and the way back stays
// open.
func TestRoutesThatAreNotAdopted(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*gatewayv1.HTTPRoute)
		says string
	}{
		"opted out": {
			func(route *gatewayv1.HTTPRoute) {
				route.Annotations = map[string]string{siskinv1.AdoptAnnotation: "disabled"}
			},
			siskinv1.AdoptAnnotation + ": disabled",
		},
		"a controller's": {
			func(route *gatewayv1.HTTPRoute) {
				route.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Operator", Name: "wren", UID: "7", Controller: new(true)}}
			}, "is kept by Operator wren",
		},
		"another Canary's": {
			func(route *gatewayv1.HTTPRoute) { route.Annotations = map[string]string{siskinv1.CanaryLabel: "wren"} }, "carries the traffic of Canary wren",
		},
		"without the apex": {func(route *gatewayv1.HTTPRoute) { route.Spec.Rules = route.Spec.Rules[:1] }, "no rule of HTTPRoute finch has a backendRef to Service finch"},
		"with the apex turned off": {
			func(route *gatewayv1.HTTPRoute) { route.Spec.Rules[1].BackendRefs[0].Weight = new(int32(0)) }, "no rule of HTTPRoute finch has a backendRef",
		},
		"too large": {
			func(route *gatewayv1.HTTPRoute) {
				route.Spec.Rules[0].Filters[0].RequestHeaderModifier.Set[0].Value = strings.Repeat("x", 200_000)
			}, "no more than",
		},
	} {
		t.Run(name, func(t *testing.T) {
			wren := gatewayapitest.Canary(namespace)
			wren.Name, wren.UID = "wren", "1234"
			route := gatewayapitest.UsersRoute(namespace)
			tt.edit(route)
			c := &routertest.Counter{Client: gatewayapitest.NewClient(t, wren, route)}
			r, in := newRouter(c), intent(nil)
			_, err := r.Apply(t.Context(), in)
			if refused, ok := errors.AsType[*router.InvalidError](err); !ok || !strings.Contains(refused.Message, tt.says) || c.Writes() != 0 {
				t.Errorf("Apply: %v", err)
			}
			if obs, err := r.Observe(t.Context(), in); err != nil || obs.Known {
				t.Errorf("Observe: %+v %v", obs, err)
			}
			if err := r.Release(t.Context(), in); err != nil || c.Writes() != 0 {
				t.Errorf("Release: %v", err)
			}
		})
	}
	t.Run("adopted before", func(t *testing.T) {
		c := gatewayapitest.NewClient(t, gatewayapitest.UsersRoute(namespace))
		r, in := newRouter(c), intent(nil)
		applied(t, r, in)
		route := get(t, c)
		route.Annotations[siskinv1.AdoptAnnotation] = "disabled"
		if err := c.Update(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		in.Split = router.Split{Primary: 100}
		if _, err := r.Apply(t.Context(), in); err == nil || weights(get(t, c))["finch-canary"] != 0 {
			t.Errorf("the way back is closed: %v", err)
		}
	})
	t.Run("leads elsewhere since", func(t *testing.T) {
		c := gatewayapitest.NewClient(t, gatewayapitest.UsersRoute(namespace))
		r, in := newRouter(c), intent(nil)
		applied(t, r, in)
		route := get(t, c)
		route.Spec.Rules = gatewayapitest.UsersRoute(namespace).Spec.Rules[:1]
		if err := c.Update(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Apply(t.Context(), in); err == nil || !strings.Contains(err.Error(), "no rule of HTTPRoute") {
			t.Errorf("Apply: %v", err)
		}
		if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceNone || obs.Current != (router.Split{Primary: 100}) {
			t.Errorf("a canary that gets nothing: %+v %v", obs, err)
		}
		in.Split = router.Split{Primary: 100}
		if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceWritten {
			t.Errorf("the way back: %+v %v", obs, err)
		}
	})
}

// What the route has that this version cannot read must not be copied, and the weights move all the same.
func TestWhatCannotBeSaidBesideTheUsersRule(t *testing.T) {
	route := gatewayapitest.UsersRoute(namespace)
	route.Spec.Rules[1].Matches = []gatewayv1.HTTPRouteMatch{{Headers: []gatewayv1.HTTPHeaderMatch{{Name: "Cookie", Value: "a=1"}}}}
	c := gatewayapitest.NewClient(t, route)
	r, in := newRouter(c), intent(nil)
	in.Split = router.Split{Primary: 50, Canary: 50, Audience: true}
	in.Audience = routertest.Audience()[1:2]
	applied(t, r, intent(nil))
	if caps := r.Capabilities(t.Context(), in.Owner); !caps.Features.Can(router.FeatureMatchCookie) || !caps.Features.Can(router.FeatureAffinity) {
		t.Errorf("nothing is asked for, and refused: %+v", caps)
	}
	_, err := r.Apply(t.Context(), in)
	if refused, ok := errors.AsType[*router.InvalidError](err); !ok || !strings.Contains(refused.Error(), "Cookie") {
		t.Errorf("Apply: %v", err)
	}
	in.Owner.Spec.Analysis.Match, in.Owner.Spec.Analysis.SessionAffinity = in.Audience, &routertest.Affinity().SessionAffinity
	if caps := r.Capabilities(t.Context(), in.Owner); caps.Features.Can(router.FeatureMatchCookie) || caps.Features.Can(router.FeatureAffinity) || !strings.Contains(caps.Of, "Cookie") {
		t.Errorf("it is not refused before: %+v", caps)
	}
	if diff := cmp.Diff(map[string]int32{"finch-primary": 50, "finch-canary": 50}, weights(get(t, c))); diff != "" {
		t.Error(diff)
	}
	if obs, err := r.Observe(t.Context(), in); err != nil || obs.Evidence != router.EvidenceNone || obs.Current.Audience {
		t.Errorf("an audience that is not there: %+v %v", obs, err)
	}
}

// A route's status is written all the time: that keeps no split from being written, and a write of its author does.
func TestWritesMeetOthers(t *testing.T) {
	base := gatewayapitest.NewClient(t, gatewayapitest.UsersRoute(namespace))
	var meanwhile func()
	c := interceptor.NewClient(base, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
			if do := meanwhile; do != nil {
				meanwhile = nil
				do()
			}
			return c.Patch(ctx, obj, p, opts...)
		},
	})
	r, in := newRouter(c), intent(nil)
	meanwhile = func() {
		route := get(t, base)
		route.Status.Parents = gatewayapitest.Accepted(route)
		if err := base.Status().Update(t.Context(), route); err != nil {
			t.Fatal(err)
		}
	}
	applied(t, r, in)
	in.Split = router.Split{Primary: 80, Canary: 20}
	meanwhile = func() {
		route := get(t, base)
		route.Spec.Rules = users(t, "").Spec.Rules
		if err := base.Update(t.Context(), route); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Apply(t.Context(), in); err == nil {
		t.Error("what its author wrote meanwhile was written over")
	}
	applied(t, r, in)
	if diff := cmp.Diff(map[string]int32{"finch-primary": 80, "finch-canary": 20}, weights(get(t, base))); diff != "" {
		t.Error(diff)
	}
}

// The room of a route is shared by the rules that lead to the apex: what the first of them can do without keeps none
// from what it needs.
func TestRoomIsShared(t *testing.T) {
	in := intent(nil)
	in.Split, in.Affinity = router.Split{Primary: 50, Canary: 50}, routertest.Affinity()
	in.Affinity.Earlier = nil
	for i := range int32(20) {
		in.Affinity.Earlier = append(in.Affinity.Earlier, router.Draw{PrimaryToken: strings.Repeat("e", int(i)+1), Canary: i + 1})
	}
	got := gatewayapi.Merged(t, rulesOf(t, `[{name: a, matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{name: finch, port: 80}]},
	  {name: b, matches: [{path: {type: PathPrefix, value: /b}}], backendRefs: [{name: finch, port: 80}]}]`), in)
	beside := map[string]int{}
	for _, rule := range got {
		raw, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/a", "/b"} {
			if strings.Contains(string(raw), `"`+path+`"`) {
				beside[path]++
			}
		}
	}
	if len(got) > 16 || beside["/a"] < 5 || beside["/b"] < 5 {
		t.Errorf("%d rules: %v", len(got), beside)
	}
}
