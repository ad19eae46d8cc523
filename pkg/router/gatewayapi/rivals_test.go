package gatewayapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/gatewayapi"
)

// Only a route that claims the same requests is a rival: not one for others, and not one that says more and so is meant
// to go first.
func TestRivals(t *testing.T) {
	path := func(p string) gatewayv1.HTTPRouteMatch {
		return gatewayv1.HTTPRouteMatch{Path: &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: &p}}
	}
	rule := func(ms ...gatewayv1.HTTPRouteMatch) gatewayv1.HTTPRouteRule {
		return gatewayv1.HTTPRouteRule{Matches: ms}
	}
	testers := path("/")
	testers.Headers = []gatewayv1.HTTPHeaderMatch{{Name: "X-Tester", Value: "yes"}}
	public := gatewayv1.ParentReference{Name: "public"}
	section := func(name string) gatewayv1.ParentReference {
		return gatewayv1.ParentReference{Name: "public", SectionName: new(gatewayv1.SectionName(name))}
	}
	for name, tt := range map[string]struct {
		own     func(*siskinv1.CanaryService)
		parents []gatewayv1.ParentReference
		hosts   []gatewayv1.Hostname
		rules   []gatewayv1.HTTPRouteRule
		want    []int
	}{
		"the same":                      {hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}, want: []int{0}},
		"the same, with what is added":  {hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{{}}, want: []int{0}},
		"one of its rules":              {hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/a")), rule(path("/"))}, want: []int{1}},
		"another path":                  {hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/a"))}},
		"another path in the same rule": {hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"), path("/a"))}},
		"a header more":                 {hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(testers)}},
		"another host":                  {hosts: []gatewayv1.Hostname{"siskin.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}},
		"another host too":              {hosts: []gatewayv1.Hostname{"finch.example.org", "siskin.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}},
		"all hosts":                     {rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}},
		"all hosts, as the Canary's": {
			own: func(s *siskinv1.CanaryService) { s.Hosts = nil }, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}, want: []int{0},
		},
		"one host of all": {
			own:   func(s *siskinv1.CanaryService) { s.Hosts = nil },
			hosts: []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))},
		},
		"one of its hosts": {
			own:   func(s *siskinv1.CanaryService) { s.Hosts = append(s.Hosts, "www.example.org") },
			hosts: []gatewayv1.Hostname{"www.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}, want: []int{0},
		},
		"another Gateway": {
			parents: []gatewayv1.ParentReference{{Name: "inside"}},
			hosts:   []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))},
		},
		"another listener": {
			own:     func(s *siskinv1.CanaryService) { s.GatewayRefs = []gatewayv1.ParentReference{section("https")} },
			parents: []gatewayv1.ParentReference{section("http")},
			hosts:   []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))},
		},
		"the listener among all": {
			parents: []gatewayv1.ParentReference{{Name: "inside"}, section("http")},
			hosts:   []gatewayv1.Hostname{"finch.example.org"}, rules: []gatewayv1.HTTPRouteRule{rule(path("/"))}, want: []int{0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := capable(t)
			r, in := newRouter(c), intent(tt.own)
			if rivals, err := r.Rivals(t.Context(), in); err != nil || len(rivals) > 0 {
				t.Fatalf("before there is a route: %v %v", rivals, err)
			}
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			other := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "old"}}
			other.Spec.ParentRefs, other.Spec.Hostnames, other.Spec.Rules = tt.parents, tt.hosts, tt.rules
			if tt.parents == nil {
				other.Spec.ParentRefs = []gatewayv1.ParentReference{public}
			}
			if err := c.Create(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			var want []router.Rival
			if tt.want != nil {
				want = []router.Rival{{Name: "old", Rules: tt.want}}
			}
			have, err := r.Rivals(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}

var _ router.Contested = (*gatewayapi.Router)(nil)
